-- Renews one room's lease and makes its seats what its shard says they are; heals what a flush has lost.
-- KEYS  1 the room (hash)  2 its seats (sorted set)  3 rooms of the type (set)  4 names of the type (hash)
--       5 epochs of the type (hash)
-- ARGV  1 room id  2 shard id  3 epoch  4 lease TTL ms  5 type  6 name, or ""  7 seats  8... players seated
-- Result  "ok", or "lost" when another owner or a newer epoch has the room

local id, shard, epoch, lease_ms = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local room_type, name, seats = ARGV[5], ARGV[6], ARGV[7]
local room = redis.call('HMGET', KEYS[1], 'shard', 'epoch')
if room[1] then
  if room[1] ~= shard or room[2] ~= epoch then
    return 'lost'
  end
else
  -- The record is gone: the lease ran out, or Redis was flushed. It is ours still if nobody has taken it since.
  if name ~= '' then
    local newest = tonumber(redis.call('HGET', KEYS[5], name) or 0)
    if newest > tonumber(epoch) then
      return 'lost'
    end
    redis.call('HSET', KEYS[5], name, epoch)
    redis.call('HSET', KEYS[4], name, id)
  end
  redis.call('HSET', KEYS[1], 'type', room_type, 'name', name, 'shard', shard, 'epoch', epoch, 'seats', seats)
  redis.call('SADD', KEYS[3], id)
end
redis.call('PEXPIRE', KEYS[1], lease_ms)

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
for index = 8, #ARGV do
  redis.call('ZADD', KEYS[2], 1e15 + now, ARGV[index])
end
-- Who is not in the list has left, unless it was seated after the list was made: without this grace a renewal under
-- way would forget the newest, and others would be sent to seats that are taken.
local grace_ms = 5000
redis.call('ZREMRANGEBYSCORE', KEYS[2], 1e15, 1e15 + now - grace_ms)
redis.call('PEXPIRE', KEYS[2], lease_ms * 2)
return 'ok'
