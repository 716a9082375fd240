-- Records that the owner of a room has seated a player, or has freed a seat.
-- KEYS  1 the slot
-- ARGV  2 {room_id, player_id, shard_id, epoch, is_seated, only_reserved (a taken seat is kept), lease_ms}
-- Result  {status = "ok"}, or "stale" if another shard owns the room or it has ended; nothing was changed

local room = get_room(request.room_id)
if not is_owner(room, request.shard_id, request.epoch) then
  return reply({status = 'stale'})
end
local seats = key('seats', room.id)
if request.is_seated then
  redis.call('ZADD', seats, SEATED + now, request.player_id)
  redis.call('PEXPIRE', seats, request.lease_ms * 2)
elseif not request.only_reserved or tonumber(redis.call('ZSCORE', seats, request.player_id) or 0) < SEATED then
  redis.call('ZREM', seats, request.player_id)
end
index(room)
return reply({status = 'ok'})
