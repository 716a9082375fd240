-- A reservation becomes a seat; one that has just run out does so too while a seat is free.
-- KEYS  1 the room (hash)   2 its seats (sorted set)
-- ARGV  1 player id   2 epoch
-- Result  "ok", "full" or "stale"

local room = redis.call('HMGET', KEYS[1], 'epoch', 'seats')
if not room[1] or room[1] ~= ARGV[2] then
  return 'stale'
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if not redis.call('ZSCORE', KEYS[2], ARGV[1]) and redis.call('ZCARD', KEYS[2]) >= tonumber(room[2]) then
  return 'full'
end
redis.call('ZADD', KEYS[2], 1e15 + now, ARGV[1])
local ttl = redis.call('PTTL', KEYS[1])
redis.call('PEXPIRE', KEYS[2], math.max(ttl, 1000) * 2)
return 'ok'
