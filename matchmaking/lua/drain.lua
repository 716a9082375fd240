-- Asks a shard to drain: it hears of it with its next heartbeat. After rooms.lua.
-- KEYS  1 the slot
-- ARGV  2 {shard_id, ttl_ms}
-- Result  {status = "ok"}, or "gone" when there is no such shard
--
--   PREFIX:drain:SHARD   TTL

if not shard_of(asked.shard_id) then
  return answer({status = 'gone'})
end
redis.call('SET', key('drain', asked.shard_id), 1, 'PX', asked.ttl_ms)
return answer({status = 'ok'})
