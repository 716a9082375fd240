-- Requests that a shard drains. The shard receives the request with its next heartbeat.
-- KEYS  1 the slot
-- ARGV  2 {shard_id, ttl_ms}
-- Result  {status = "ok"}; "draining" if it was requested before, or the shard drains; "gone" if the shard is not
--       registered
--
--   PREFIX:drain:SHARD   TTL

local shard = get_shard(request.shard_id)
if not shard then
  return reply({status = 'gone'})
end
if not shard.is_ready then
  return reply({status = 'draining'})
end
local was_requested = redis.call('EXISTS', key('drain', request.shard_id)) == 1
redis.call('SET', key('drain', request.shard_id), 1, 'PX', request.ttl_ms)
return reply({status = was_requested and 'draining' or 'ok'})
