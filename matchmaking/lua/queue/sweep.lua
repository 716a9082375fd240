-- Takes out of the queue what should not wait any more. After queue.lua.
-- KEYS  1 the slot
-- ARGV  2 {region, leader, epoch, desk_ms (a desk that was not heard of for so long is gone),
--       gather_ms (a party that is not complete by then is over), overdue (list of tickets), limit (of parties),
--       desks (list: gone desks whose tickets are being searched for), cursor (where that search goes on)}
-- Result  {status = "ok", cancelled (list of tickets), desks, cursor}, or "stale": another leads. The tickets of a gone
--       desk are found by a look at all tickets, SCAN_COUNT in a call: call again with `desks` and `cursor` until the
--       cursor is "0". Only then are the desks forgotten, so a leader that ends halfway is followed by a whole search.

local SCAN_COUNT = 500

if not leads(asked.region, asked.leader, asked.epoch) then
  return answer({status = 'stale', cancelled = {}, desks = {}, cursor = '0'})
end
local cancelled = {}

local function over(id, kind, reason)
  if cancel(id, kind, reason) then
    cancelled[#cancelled + 1] = id
  end
end

-- Desks that are gone: those of a search that has begun, or all, to begin one. A desk that was heard of again is left out.
local function gone_desks()
  local gone, count = {}, 0
  local latest = now - asked.desk_ms
  local desks = asked.desks
  if asked.cursor == '0' then
    desks = redis.call('ZRANGEBYSCORE', key('desks'), '-inf', latest)
  end
  for _, desk in ipairs(desks) do
    local heard = redis.call('ZSCORE', key('desks'), desk)
    if heard and tonumber(heard) <= latest then
      gone[desk] = true
      count = count + 1
    end
  end
  return gone, count
end

local function end_ticket(ticket, gone)
  for _, entry in ipairs(ticket[MEMBERS]) do
    if gone[entry[DESK]] then
      over(ticket[TICKET_ID], 'cancelled', 'a friend\'s server is gone')
      if is_in_match(ticket[TICKET_ID]) then
        mark_left(entry[ENTRY_ID])
      end
    end
  end
end

local function forget_desk(desk)
  redis.call('ZREM', key('desks'), desk)
  -- One that has only slept gets no letters: it finds that its players are unknown, and they enter again.
  boxes[desk] = nil
  redis.call('DEL', key('mail', desk))
end

local function search(gone)
  local found = redis.call('HSCAN', TICKETS, asked.cursor, 'COUNT', SCAN_COUNT)
  for at = 2, #found[2], 2 do
    end_ticket(cmsgpack.unpack(found[2][at]), gone)
  end
  if found[1] == '0' then
    for desk in pairs(gone) do
      forget_desk(desk)
    end
    for _, packed in ipairs(redis.call('HVALS', key('backfills'))) do
      local wanted = cmsgpack.unpack(packed)
      if gone[wanted.desk] then
        redis.call('HDEL', key('backfills'), wanted.room_id)
      end
    end
  end
  return found[1]
end

local gone, count = gone_desks()
local desks, cursor = {}, '0'
if count > 0 then
  cursor = search(gone)
  for desk in pairs(gone) do
    desks[#desks + 1] = desk
    boxes[desk] = nil
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', GATHERING, '-inf', now - asked.gather_ms, 'LIMIT', 0, asked.limit)) do
  over(id, 'timed_out', 'not all friends have come')
end
for _, id in ipairs(asked.overdue) do
  if redis.call('ZSCORE', WAITING, id) then
    over(id, 'timed_out', 'no match was found in time')
  end
end
finish()
return answer({status = 'ok', cancelled = cancelled, desks = desks, cursor = cursor})
