-- Releases the lease of the leader of a mode in a region.
-- KEYS  1 the slot
-- ARGV  2 {region, leader, epoch}
-- Result  {status = "ok"}

if is_leader(request.region, request.leader, request.epoch) then
  redis.call('DEL', key('leader', request.region))
end
return reply({status = 'ok'})
