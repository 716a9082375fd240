-- Takes out of the queue what should not wait any more. After queue.lua.
-- KEYS  1 the slot
-- ARGV  2 {region, leader, epoch, desk_ms (a desk that was not heard of for so long is gone),
--       gather_ms (a party that is not complete by then is over), overdue (list of tickets), limit (of parties),
--       check_cursor (where the check of all tickets goes on),
--       desks (list: gone desks whose tickets are being searched for), cursor (where that search goes on)}
-- Result  {status = "ok", cancelled (list of tickets), desks, cursor, check_cursor}, or "stale": another leads. The tickets of a gone
--       desk are found by a look at all tickets, SCAN_COUNT in a call: call again with `desks` and `cursor` until the
--       cursor is "0". Only then are the desks forgotten, so a leader that ends halfway is followed by a whole search.

local SCAN_COUNT = 500
local CHECK_COUNT = 200

if not leads(asked.region, asked.leader, asked.epoch) then
  return answer({status = 'stale', cancelled = {}, desks = {}, cursor = '0', check_cursor = '0'})
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
  local id = ticket[TICKET_ID]
  for _, entry in ipairs(ticket[MEMBERS]) do
    if gone[entry[DESK]] then
      if is_in_match(id) then
        mark_left(entry[ENTRY_ID])
      else
        over(id, 'cancelled', 'a friend\'s server is gone')
        drop(id)  -- where Redis has lost that it waits
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
for _, id in ipairs(redis.call('ZRANGE', GATHERING, 0, asked.limit)) do
  if redis.call('HEXISTS', TICKETS, id) == 0 then
    redis.call('ZREM', GATHERING, id)  -- Redis has lost the ticket
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

-- A ticket that is in no place, or whose player waits elsewhere, is what is left where Redis has lost a key. A desk that is
-- not in the list any more is added: it is gone when it is not heard of from now on.
local function check_ticket(ticket)
  local id = ticket[TICKET_ID]
  if is_in_match(id) then
    return
  end
  local is_whole = redis.call('ZSCORE', WAITING, id) or redis.call('ZSCORE', GATHERING, id)
  for _, entry in ipairs(ticket[MEMBERS]) do
    is_whole = is_whole and waits_in(entry, id)
    redis.call('ZADD', key('desks'), 'NX', now, entry[DESK])
  end
  if not is_whole then
    drop(id)
    cancelled[#cancelled + 1] = id
  end
end

local checked = redis.call('HSCAN', TICKETS, asked.check_cursor, 'COUNT', CHECK_COUNT)
for at = 2, #checked[2], 2 do
  check_ticket(cmsgpack.unpack(checked[2][at]))
end
finish()
return answer({status = 'ok', cancelled = cancelled, desks = desks, cursor = cursor, check_cursor = checked[1]})
