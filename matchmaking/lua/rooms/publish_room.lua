-- Replaces the record of a room and its seats by those of its owner; restores keys that Redis has lost.
-- KEYS  1 the slot
-- ARGV  2 {shard_id, room_id, room_type, name, epoch, seats, access, code, labels (list of KEY=VALUE), lease_ms,
--       players (list: all seated players)}
-- Result  {status = "ok"}; "lost" if another shard owns the room or a newer room has its name; "unregistered"

local GRACE_MS = 5000
local shard = get_shard(request.shard_id)
if not shard then
  return reply({status = 'unregistered'})
end
local room = get_room(request.room_id)
if room and not is_owner(room, request.shard_id, request.epoch) then
  return reply({status = 'lost'})
end
if tonumber(redis.call('GET', key('moved', request.room_id)) or 0) > request.epoch then
  return reply({status = 'lost'})
end
if request.name ~= '' then
  local known = redis.call('HMGET', key('name', request.room_type, request.name), 'id', 'epoch')
  if known[2] and (tonumber(known[2]) > request.epoch or (known[1] and known[1] ~= request.room_id)) then
    return reply({status = 'lost'})
  end
end
-- Remove the room from the indexes of its earlier labels, also if its lease has ended.
local labels = room and room.labels or redis.call('HGET', key('owned', request.shard_id), request.room_id)
if labels then
  unindex({
    id = request.room_id, type = request.room_type, shard = request.shard_id, labels = labels,
    region = room and room.region or shard.region,
  })
end
if request.epoch > tonumber(redis.call('GET', prefix .. ':epoch') or 0) then
  redis.call('SET', prefix .. ':epoch', string.format('%.0f', request.epoch))
end
room = {
  id = request.room_id, type = request.room_type, name = request.name, shard = request.shard_id, epoch = request.epoch,
  seats = request.seats, access = request.access, code = request.code, labels = table.concat(request.labels, ','),
  region = shard.region, build = shard.build,
}
local seats = key('seats', room.id)
redis.call('ZREMRANGEBYSCORE', seats, '-inf', now)
local is_seated = {}
for _, player in ipairs(request.players) do
  is_seated[player] = true
  redis.call('ZADD', seats, SEATED + now, player)
end
-- A player who is not in the list has left, unless the player was seated after the list was made. Without this grace
-- period, a call in flight would free the newest seats, and other players would be redirected to taken seats.
for _, player in ipairs(redis.call('ZRANGEBYSCORE', seats, SEATED, SEATED + now - GRACE_MS)) do
  if not is_seated[player] then
    redis.call('ZREM', seats, player)
  end
end
write_lease(room, request.lease_ms)
index(room)
return reply({status = 'ok'})
