-- Gives the lease of a room a new epoch, greater than min_epoch. The owner is unchanged.
-- KEYS  1 the slot
-- ARGV  2 {room_id, shard_id, epoch, lease_ms, min_epoch}
-- Result  {status = "ok", epoch}; "stale" if another shard owns the room; "unready" if the shard is not registered

local room, shard = get_room(request.room_id), get_shard(request.shard_id)
if not shard then
  return reply({status = 'unready'})
end
if not is_owner(room, request.shard_id, request.epoch) then
  return reply({status = 'stale'})
end
set_owner(room, shard, request.lease_ms, request.min_epoch)
return reply({status = 'ok', epoch = room.epoch})
