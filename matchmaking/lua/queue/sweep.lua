-- Takes out of the queue what should not wait any more. After queue.lua.
-- KEYS  1 the slot
-- ARGV  2 {region, leader, epoch, desk_ms (a desk that was not heard of for so long is gone),
--       gather_ms (a party that is not complete by then is over), overdue (list of tickets)}
-- Result  {status = "ok", cancelled (list of tickets)}, or "stale": another leads

if not leads(asked.region, asked.leader, asked.epoch) then
  return answer({status = 'stale', cancelled = {}})
end
local cancelled = {}

local function over(id, kind, reason)
  if cancel(id, kind, reason) then
    cancelled[#cancelled + 1] = id
  end
end

local function is_of(desks, ticket)
  for _, entry in ipairs(ticket[MEMBERS]) do
    if desks[entry[DESK]] then
      return true
    end
  end
end

-- Desks are gone: which tickets are theirs is found by looking at all, since it is seldom asked.
local function sweep(gone)
  local desks = {}
  for _, desk in ipairs(gone) do
    desks[desk] = true
    redis.call('ZREM', key('desks'), desk)
  end
  for _, found in ipairs(redis.call('HVALS', TICKETS)) do
    local ticket = cmsgpack.unpack(found)
    if is_of(desks, ticket) then
      over(ticket[TICKET_ID], 'cancelled', 'a friend\'s server is gone')
    end
  end
  for desk in pairs(desks) do
    -- One that has only slept gets no letters: it finds that its players are unknown, and they enter again.
    boxes[desk] = nil
    redis.call('DEL', key('mail', desk))
  end
  for _, found in ipairs(redis.call('HVALS', key('backfills'))) do
    local wanted = cmsgpack.unpack(found)
    if desks[wanted.desk] then
      redis.call('HDEL', key('backfills'), wanted.room_id)
    end
  end
end

local gone = redis.call('ZRANGEBYSCORE', key('desks'), '-inf', now - asked.desk_ms)
if #gone > 0 then
  sweep(gone)
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', GATHERING, '-inf', now - asked.gather_ms)) do
  over(id, 'timed_out', 'not all friends have come')
end
for _, id in ipairs(asked.overdue) do
  if redis.call('ZSCORE', WAITING, id) then
    over(id, 'timed_out', 'no match was found in time')
  end
end
finish()
return answer({status = 'ok', cancelled = cancelled})
