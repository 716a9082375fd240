-- Keeps a shard in the directory. After rooms.lua.
-- KEYS  1 the slot
-- ARGV  2 {shard_id, load, players, rooms, ttl_ms}
-- Result  {status = "ok", now_ms, has_offers, is_to_drain}, or "unregistered" when the directory has lost it; now_ms is
--         what time it is in Redis; rooms are offered to it (handover.lua); it was asked to drain

local id = asked.shard_id
local known = redis.call('HMGET', key('shard', id), 'state', 'region', 'room_types')
if not known[1] then
  return answer({status = 'unregistered', now_ms = now})
end
-- Until the next heartbeat a new room counts as what these have cost on average.
redis.call('HSET', key('shard', id), 'load', asked.load, 'players', asked.players, 'rooms', asked.rooms,
  'room_load', asked.rooms > 0 and asked.load / asked.rooms or ROOM_LOAD)
redis.call('PEXPIRE', key('shard', id), asked.ttl_ms)
redis.call('ZADD', prefix .. ':shards', now, id)
redis.call('PEXPIRE', prefix .. ':shards', OWNED_MS)
if known[1] == 'ready' then
  for room_type in string.gmatch(known[3], '[^,]+') do
    local hosts = key('hosts', known[2], room_type)
    redis.call('ZADD', hosts, 0, id)
    redis.call('PEXPIRE', hosts, INDEX_MS)
  end
end
return answer({
  status = 'ok', now_ms = now, has_offers = redis.call('EXISTS', key('offers', id)) == 1,
  is_to_drain = redis.call('EXISTS', key('drain', id)) == 1,
})
