-- Keeps a shard in the directory.
-- KEYS  1 the slot
-- ARGV  2 {shard_id, load, players, rooms, ttl_ms}
-- Result  {status = "ok" | "unregistered" (the shard is not in the directory), now_ms (the time of Redis),
--       has_offers (rooms are offered to the shard, see handover.lua), is_drain_requested}

local id = request.shard_id
local known = redis.call('HMGET', key('shard', id), 'state', 'region', 'room_types')
if not known[1] then
  return reply({status = 'unregistered', now_ms = now})
end
-- Until the next heartbeat, each new room counts as much load as these rooms have on average.
redis.call('HSET', key('shard', id), 'load', request.load, 'players', request.players, 'rooms', request.rooms,
  'room_load', request.rooms > 0 and request.load / request.rooms or ROOM_LOAD)
redis.call('PEXPIRE', key('shard', id), request.ttl_ms)
redis.call('ZADD', prefix .. ':shards', now, id)
redis.call('PEXPIRE', prefix .. ':shards', OWNED_MS)
if known[1] == 'ready' then
  for room_type in string.gmatch(known[3], '[^,]+') do
    local hosts = key('hosts', known[2], room_type)
    redis.call('ZADD', hosts, 0, id)
    redis.call('PEXPIRE', hosts, INDEX_MS)
  end
end
return reply({
  status = 'ok', now_ms = now, has_offers = redis.call('EXISTS', key('offers', id)) == 1,
  is_drain_requested = redis.call('EXISTS', key('drain', id)) == 1,
})
