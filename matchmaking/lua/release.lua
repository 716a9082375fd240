-- A room has ended: its record goes at once, if it is still ours. After rooms.lua.
-- KEYS  1 the slot
-- ARGV  2 {room_id, shard_id, epoch}
-- Result  {status = "ok"}, or "stale" when it was not ours; nothing has changed then

local room = room_of(asked.room_id)
if not is_ours(room, asked.shard_id, asked.epoch) then
  -- Its lease ran out before: nobody need recover a room that has ended.
  if not room then
    redis.call('HDEL', key('owned', asked.shard_id), asked.room_id)
  end
  return answer({status = 'stale'})
end
forget(room)
return answer({status = 'ok'})
