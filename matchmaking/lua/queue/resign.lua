-- Gives the lead of a mode in a region back. After queue.lua.
-- KEYS  1 the slot
-- ARGV  2 {region, leader, epoch}
-- Result  {status = "ok"}

if leads(asked.region, asked.leader, asked.epoch) then
  redis.call('DEL', key('leader', asked.region))
end
return answer({status = 'ok'})
