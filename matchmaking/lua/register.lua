-- Puts a shard into the directory, or says anew what it is. After rooms.lua.
-- KEYS  1 the slot
-- ARGV  2 {shard_id, url, build, region, state, room_types (list), rooms_max, load_max, ttl_ms, is_again,
--       heal_ms}: is_again says that it was registered before and has been forgotten
-- Result  {status = "ok"}

local id = asked.shard_id
if redis.call('SETNX', prefix .. ':epoch', 0) == 1 and asked.is_again then
  -- Redis has forgotten the fleet. Rooms that run have names that nobody knows now: none is given out until their
  -- shards have said so.
  redis.call('SET', prefix .. ':healing', 1, 'PX', asked.heal_ms)
end
local before = redis.call('HGET', key('shard', id), 'state')
redis.call('HSET', key('shard', id), 'shard_id', id, 'url', asked.url, 'build', asked.build, 'region', asked.region,
  'state', asked.state, 'rooms_max', asked.rooms_max, 'load_max', asked.load_max,
  'room_types', table.concat(asked.room_types, ','))
for _, figure in ipairs({'load', 'players', 'rooms'}) do
  redis.call('HSETNX', key('shard', id), figure, 0)
end
redis.call('HSETNX', key('shard', id), 'room_load', ROOM_LOAD)
redis.call('PEXPIRE', key('shard', id), asked.ttl_ms)
redis.call('ZADD', prefix .. ':shards', now, id)
redis.call('PEXPIRE', prefix .. ':shards', OWNED_MS)
for _, room_type in ipairs(asked.room_types) do
  local hosts = key('hosts', asked.region, room_type)
  if asked.state == 'ready' then
    redis.call('ZADD', hosts, 0, id)
    redis.call('PEXPIRE', hosts, INDEX_MS)
  else
    redis.call('ZREM', hosts, id)
  end
end
if before and before ~= asked.state then
  for _, room_id in ipairs(redis.call('HKEYS', key('owned', id))) do
    local room = room_of(room_id)
    if room and room.shard == id then
      index(room)
    end
  end
end
return answer({status = 'ok'})
