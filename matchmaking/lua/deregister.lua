-- Takes a shard out of the directory; rooms that it still has are up for recovery. After rooms.lua.
-- KEYS  1 the slot
-- ARGV  2 {shard_id}
-- Result  {status = "ok"}

local id = asked.shard_id
local known = redis.call('HMGET', key('shard', id), 'region', 'room_types')
for room_type in string.gmatch(known[2] or '', '[^,]+') do
  redis.call('ZREM', key('hosts', known[1], room_type), id)
end
redis.call('DEL', key('shard', id))
if redis.call('EXISTS', key('owned', id)) == 0 then
  redis.call('ZREM', prefix .. ':shards', id)
end
return answer({status = 'ok'})
