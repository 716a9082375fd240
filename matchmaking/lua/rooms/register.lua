-- Registers a shard, or updates its entry.
-- KEYS  1 the slot
-- ARGV  2 {shard_id, url, build, region, state, room_types (list), rooms_max, load_max, ttl_ms, was_registered (the
--       shard was registered before), recovery_ms}
-- Result  {status = "ok"}

local id = request.shard_id
if redis.call('SETNX', prefix .. ':epoch', 0) == 1 and request.was_registered then
  -- Redis was emptied. Running rooms have names that Redis does not know: refuse new names until their shards have
  -- published them.
  redis.call('SET', prefix .. ':recovering', 1, 'PX', request.recovery_ms)
end
local before = redis.call('HGET', key('shard', id), 'state')
redis.call('HSET', key('shard', id), 'shard_id', id, 'url', request.url, 'build', request.build, 'region', request.region,
  'state', request.state, 'rooms_max', request.rooms_max, 'load_max', request.load_max,
  'room_types', table.concat(request.room_types, ','))
for _, figure in ipairs({'load', 'players', 'rooms'}) do
  redis.call('HSETNX', key('shard', id), figure, 0)
end
redis.call('HSETNX', key('shard', id), 'room_load', ROOM_LOAD)
redis.call('PEXPIRE', key('shard', id), request.ttl_ms)
redis.call('ZADD', prefix .. ':shards', now, id)
redis.call('PEXPIRE', prefix .. ':shards', OWNED_MS)
for _, room_type in ipairs(request.room_types) do
  local hosts = key('hosts', request.region, room_type)
  if request.state == 'ready' then
    redis.call('ZADD', hosts, 0, id)
    redis.call('PEXPIRE', hosts, INDEX_MS)
  else
    redis.call('ZREM', hosts, id)
  end
end
if before and before ~= request.state then
  for _, room_id in ipairs(redis.call('HKEYS', key('owned', id))) do
    local room = get_room(room_id)
    if room and room.shard == id then
      index(room)
    end
  end
end
return reply({status = 'ok'})
