-- Removes a shard from the directory. The leases of its remaining rooms end by their TTL.
-- KEYS  1 the slot
-- ARGV  2 {shard_id}
-- Result  {status = "ok"}

local id = request.shard_id
local known = redis.call('HMGET', key('shard', id), 'region', 'room_types')
for room_type in string.gmatch(known[2] or '', '[^,]+') do
  redis.call('ZREM', key('hosts', known[1], room_type), id)
end
redis.call('DEL', key('shard', id))
redis.call('ZREM', prefix .. ':shards', id)
return reply({status = 'ok'})
