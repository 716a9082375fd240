-- Acquires or renews the lease of the leader of a mode in a region.
-- KEYS  1 the slot
-- ARGV  2 {region, leader, lease_ms, recent_wait_ms}
-- Result  {epoch, owner}; the requesting leader holds the lease if it is the owner

local lease = key('leader', request.region)
local held = redis.call('HMGET', lease, 'owner', 'epoch')
if not held[1] then
  local epoch = redis.call('INCR', key('epoch'))
  redis.call('HSET', lease, 'owner', request.leader, 'epoch', epoch)
  held = {request.leader, epoch}
end
if held[1] == request.leader then
  redis.call('PEXPIRE', lease, request.lease_ms)
  touch_ttl('seq', 'epoch', 'notification_seq', 'tickets', 'players', 'parties', 'gathering', 'waiting', 'matches', 'backfills',
    'agents')
  if request.recent_wait_ms > 0 then
    redis.call('SET', key('recent_wait', request.region), request.recent_wait_ms, 'PX', QUEUE_TTL_MS)
  end
end
return reply({owner = held[1], epoch = tonumber(held[2])})
