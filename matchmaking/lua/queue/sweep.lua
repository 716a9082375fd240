-- Takes out of the queue what should not wait any more. After queue.lua.
-- KEYS  1 the slot
-- ARGV  2 {region, leader, epoch, desk_ms (a desk that was not heard of for so long is gone),
--       gather_ms (a party that is not complete by then is over), overdue (list of tickets)}
-- Result  {status = "ok", cancelled (list of tickets)}, or "stale": another leads

if not leads(asked.region, asked.leader, asked.epoch) then
  return answer({status = 'stale', cancelled = {}})
end
local cancelled = {}

local function over(id, state, reason)
  if cancel(id, state, reason) then
    cancelled[#cancelled + 1] = id
  end
end

for _, desk in ipairs(redis.call('ZRANGEBYSCORE', key('desks'), '-inf', now - asked.desk_ms)) do
  for _, id in ipairs(redis.call('SMEMBERS', key('at', desk))) do
    over(id, 'cancelled', 'a friend\'s server is gone')
  end
  for _, found in ipairs(redis.call('HVALS', key('backfills'))) do
    local wanted = cmsgpack.unpack(found)
    if wanted.desk == desk then
      redis.call('HDEL', key('backfills'), wanted.room_id)
    end
  end
  redis.call('DEL', key('at', desk), key('mail', desk))
  redis.call('ZREM', key('desks'), desk)
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('gathering'), '-inf', now - asked.gather_ms)) do
  over(id, 'timed_out', 'not all friends have come')
end
for _, id in ipairs(asked.overdue) do
  if redis.call('ZSCORE', key('waiting'), id) then
    over(id, 'timed_out', 'no match was found in time')
  end
end
return answer({status = 'ok', cancelled = cancelled})
