-- Stores a session until another shard takes it.
-- KEYS  1 the slot
-- ARGV  2 {action = "put" | "take" | "get", name, ttl_ms} and, for put, 3 a msgpack value
-- Result  {found, data}
--
--   PREFIX:session_handoff:NAME   TTL: the msgpack value

local entry = key('session_handoff', request.name)
if request.action == 'put' then
  redis.call('SET', entry, ARGV[3], 'PX', request.ttl_ms)
  return reply({found = true})
end
local found = redis.call('GET', entry)
if request.action == 'take' then
  redis.call('DEL', entry)
end
if not found then
  return reply({found = false})
end
return string.char(0x82) .. cmsgpack.pack('found', true, 'data') .. found
