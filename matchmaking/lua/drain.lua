-- Asks a shard to drain: it hears of it with its next heartbeat. After rooms.lua.
-- KEYS  1 the slot
-- ARGV  2 {shard_id, ttl_ms}
-- Result  {status = "ok"}; "draining" when it was asked before, or drains; "gone" when there is no such shard
--
--   PREFIX:drain:SHARD   TTL

local shard = shard_of(asked.shard_id)
if not shard then
  return answer({status = 'gone'})
end
if not shard.is_ready then
  return answer({status = 'draining'})
end
local was_asked = redis.call('EXISTS', key('drain', asked.shard_id)) == 1
redis.call('SET', key('drain', asked.shard_id), 1, 'PX', asked.ttl_ms)
return answer({status = was_asked and 'draining' or 'ok'})
