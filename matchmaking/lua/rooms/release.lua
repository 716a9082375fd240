-- Deletes the record of a room that has ended, if the shard still owns it.
-- KEYS  1 the slot
-- ARGV  2 {room_id, shard_id, epoch}
-- Result  {status = "ok"}, or "stale" if the shard does not own the room; nothing was changed

local room = get_room(request.room_id)
if not is_owner(room, request.shard_id, request.epoch) then
  if not room then
    redis.call('HDEL', key('owned', request.shard_id), request.room_id)
  end
  return reply({status = 'stale'})
end
delete_room(room)
return reply({status = 'ok'})
