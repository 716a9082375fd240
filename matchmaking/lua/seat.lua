-- A shard has seated a player, or a player has left: its word, which Redis takes down. After rooms.lua.
-- KEYS  1 the slot
-- ARGV  2 {room_id, player_id, shard_id, epoch, is_seated, only_reserved (a seat that is taken stays), lease_ms}
-- Result  {status = "ok"}, or "stale" when the room has another owner or is gone; nothing has changed then

local room = room_of(asked.room_id)
if not is_ours(room, asked.shard_id, asked.epoch) then
  return answer({status = 'stale'})
end
local seats = key('seats', room.id)
if asked.is_seated then
  redis.call('ZADD', seats, SEATED + now, asked.player_id)
  redis.call('PEXPIRE', seats, asked.lease_ms * 2)
elseif not asked.only_reserved or tonumber(redis.call('ZSCORE', seats, asked.player_id) or 0) < SEATED then
  redis.call('ZREM', seats, asked.player_id)
end
index(room)
return answer({status = 'ok'})
