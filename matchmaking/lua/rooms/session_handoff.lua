-- Stores a session until another shard takes it.
-- KEYS  1 the slot
-- ARGV  2 {action, name}, and by action:
--       action = "put": {ttl_ms}, 3 a msgpack value
--       action = "get": {}; returns the value
--       action = "take": {shard_id, taken_ms}; returns the value unless another shard has taken it. It is kept for
--         taken_ms at most, so that the shard may repeat a call whose reply was lost
--       action = "discard": {shard_id}; deletes the value unless another shard has taken it
--       action = "find_taker": {}; returns the shard that has taken the value
-- Result  {found, data, taker}
--
--   PREFIX:session_handoff:NAME   TTL: the msgpack value
--   PREFIX:session_taker:NAME     TTL: the shard that has taken it

local entry, taken = key('session_handoff', request.name), key('session_taker', request.name)
if request.action == 'put' then
  redis.call('SET', entry, ARGV[3], 'PX', request.ttl_ms)
  redis.call('DEL', taken)
  return reply({found = true})
end
local taker = redis.call('GET', taken)
if request.action == 'find_taker' then
  return reply({found = taker and true or false, taker = taker or ''})
end
local is_free = not taker or taker == request.shard_id
if request.action == 'discard' then
  if is_free then
    redis.call('DEL', entry, taken)
  end
  return reply({found = is_free})
end
local found = redis.call('GET', entry)
if not found or request.action == 'take' and not is_free then
  return reply({found = false})
end
if request.action == 'take' and not taker then
  local left_ms = math.max(1, math.min(redis.call('PTTL', entry), request.taken_ms))  -- SET refuses 0
  redis.call('PEXPIRE', entry, left_ms)
  redis.call('SET', taken, request.shard_id, 'PX', left_ms)
end
return string.char(0x82) .. cmsgpack.pack('found', true, 'data') .. found
