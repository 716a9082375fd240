-- Takes or renews the lead of a mode in a region. After queue.lua.
-- KEYS  1 the slot
-- ARGV  2 {region, leader, lease_ms, lately_ms}
-- Result  {epoch, owner}; whoever asks leads when it is the owner

local lease = key('leader', asked.region)
local held = redis.call('HMGET', lease, 'owner', 'epoch')
if not held[1] then
  local epoch = redis.call('INCR', key('epoch'))
  redis.call('HSET', lease, 'owner', asked.leader, 'epoch', epoch)
  held = {asked.leader, epoch}
end
if held[1] == asked.leader then
  redis.call('PEXPIRE', lease, asked.lease_ms)
  keep('seq', 'epoch', 'mailed', 'tickets', 'players', 'parties', 'gathering', 'waiting', 'matches', 'backfills',
    'desks')
  if asked.lately_ms > 0 then
    redis.call('SET', key('lately', asked.region), asked.lately_ms, 'PX', KEEP_MS)
  end
end
return answer({owner = held[1], epoch = tonumber(held[2])})
