-- What one shard leaves for whichever shard asks for it first. After rooms.lua.
-- KEYS  1 the slot
-- ARGV  2 {how = "put" | "take" | "look", name, ttl_ms} and, for put, 3 the bytes
-- Result  {found}
--
--   PREFIX:parcel:NAME   TTL: the bytes

local here = key('parcel', asked.name)
if asked.how == 'put' then
  redis.call('SET', here, ARGV[3], 'PX', asked.ttl_ms)
  return answer({found = true})
end
local found = redis.call('GET', here)
if asked.how == 'take' then
  redis.call('DEL', here)
end
if not found then
  return answer({found = false})
end
return string.char(0x82) .. cmsgpack.pack('found', true, 'parcel') .. found
