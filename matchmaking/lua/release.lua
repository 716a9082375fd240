-- A room has ended: its record goes at once; the epoch of a name stays, so that it only ever grows.
-- KEYS  1 the room (hash)  2 its seats (sorted set)  3 rooms of the type (set)  4 names of the type (hash)
-- ARGV  1 room id  2 shard id  3 epoch  4 name, or ""
-- Result  1 when it was ours, else 0

local room = redis.call('HMGET', KEYS[1], 'shard', 'epoch')
if room[1] ~= ARGV[2] or room[2] ~= ARGV[3] then
  return 0
end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('SREM', KEYS[3], ARGV[1])
if ARGV[4] ~= '' and redis.call('HGET', KEYS[4], ARGV[4]) == ARGV[1] then
  redis.call('HDEL', KEYS[4], ARGV[4])
end
return 1
