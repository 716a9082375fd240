-- A shard says all that is to be known of one of its rooms: what has changed, or what Redis has lost. After rooms.lua.
-- KEYS  1 the slot
-- ARGV  2 {shard_id, room_id, room_type, name, epoch, seats, access, code, labels (list of KEY=VALUE), lease_ms,
--       players (list: those who are seated, no others)}
-- Result  {status = "ok"}, or "lost" when another owner has the room or has had its name since

local GRACE_MS = 5000
local shard = shard_of(asked.shard_id)
if not shard then
  return answer({status = 'unregistered'})
end
local room = room_of(asked.room_id)
if room and not is_ours(room, asked.shard_id, asked.epoch) then
  return answer({status = 'lost'})
end
if tonumber(redis.call('GET', key('moved', asked.room_id)) or 0) > asked.epoch then
  return answer({status = 'lost'})
end
if asked.name ~= '' then
  local known = redis.call('HMGET', key('name', asked.room_type, asked.name), 'id', 'epoch')
  if known[2] and (tonumber(known[2]) > asked.epoch or (known[1] and known[1] ~= asked.room_id)) then
    return answer({status = 'lost'})
  end
end
-- What it was listed as: also where its lease has run out, for its labels may have changed since.
local owned = redis.call('HGET', key('owned', asked.shard_id), asked.room_id)
local before = room or owned and cmsgpack.unpack(owned)
if before then
  unindex({
    id = asked.room_id, type = asked.room_type, shard = asked.shard_id, region = before.region or shard.region,
    labels = before.labels,
  })
end
if asked.epoch > tonumber(redis.call('GET', prefix .. ':epoch') or 0) then
  redis.call('SET', prefix .. ':epoch', string.format('%.0f', asked.epoch))
end
room = {
  id = asked.room_id, type = asked.room_type, name = asked.name, shard = asked.shard_id, epoch = asked.epoch,
  seats = asked.seats, access = asked.access, code = asked.code, labels = table.concat(asked.labels, ','),
  region = shard.region, build = shard.build,
}
local seats = key('seats', room.id)
redis.call('ZREMRANGEBYSCORE', seats, '-inf', now)
local is_seated = {}
for _, player in ipairs(asked.players) do
  is_seated[player] = true
  redis.call('ZADD', seats, SEATED + now, player)
end
-- Who is not in the list has left, unless it was seated after the list was made: without this grace, what is under
-- way would forget the newest, and others would be sent to seats that are taken.
for _, player in ipairs(redis.call('ZRANGEBYSCORE', seats, SEATED, SEATED + now - GRACE_MS)) do
  if not is_seated[player] then
    redis.call('ZREM', seats, player)
  end
end
lease(room, asked.lease_ms)
index(room)
return answer({status = 'ok'})
