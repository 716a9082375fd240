-- Removes overdue tickets, tickets of failed agents, and incomplete tickets from the queue.
-- KEYS  1 the slot
-- ARGV  2 {region, leader, epoch, agent_ms (the silence after which an agent has failed), gather_ms (how long a party
--       may be incomplete), overdue (list of tickets), limit (of parties), check_cursor (where the check of all
--       tickets continues), agents (list: failed agents whose tickets are being searched), cursor (where that search
--       continues)}
-- Result  {status = "ok", cancelled (list of tickets), agents, cursor, check_cursor}, or "stale": another leader
--       holds the lease. The search for tickets of failed agents scans all tickets, SCAN_COUNT in a call: repeat the
--       call with `agents` and `cursor` until the cursor is "0". The agents are removed only then, so if a leader
--       ends halfway, the next one searches all tickets again.

local SCAN_COUNT = 500
local CHECK_COUNT = 200

if not is_leader(request.region, request.leader, request.epoch) then
  return reply({status = 'stale', cancelled = {}, agents = {}, cursor = '0', check_cursor = '0'})
end
local cancelled = {}

local function end_waiting(id, kind, reason)
  if cancel(id, kind, reason) then
    cancelled[#cancelled + 1] = id
  end
end

-- Returns failed agents: those of the current search, or all to start one; without those that have synced again.
local function find_gone_agents()
  local gone, count = {}, 0
  local latest = now - request.agent_ms
  local agents = request.agents
  if request.cursor == '0' then
    agents = redis.call('ZRANGEBYSCORE', key('agents'), '-inf', latest)
  end
  for _, agent in ipairs(agents) do
    local last_seen = redis.call('ZSCORE', key('agents'), agent)
    if last_seen and tonumber(last_seen) <= latest then
      gone[agent] = true
      count = count + 1
    end
  end
  return gone, count
end

local function end_ticket(ticket, gone)
  local id = ticket[TICKET_ID]
  for _, entry in ipairs(ticket[MEMBERS]) do
    if gone[entry[AGENT]] then
      if is_in_match(id) then
        mark_left(entry[ENTRY_ID])
      else
        end_waiting(id, 'cancelled', 'the server of a member of the party has failed')
        drop(id)  -- if Redis has lost its position
      end
    end
  end
end

local function remove_agent(agent)
  redis.call('ZREM', key('agents'), agent)
  -- An agent that only slept gets no notifications. It finds that its players are unknown and enqueues them again.
  inboxes[agent] = nil
  redis.call('DEL', key('inbox', agent))
end

local function search(gone)
  local found = redis.call('HSCAN', TICKETS, request.cursor, 'COUNT', SCAN_COUNT)
  for at = 2, #found[2], 2 do
    end_ticket(cmsgpack.unpack(found[2][at]), gone)
  end
  if found[1] == '0' then
    for agent in pairs(gone) do
      remove_agent(agent)
    end
    for _, packed in ipairs(redis.call('HVALS', key('backfills'))) do
      local backfill = cmsgpack.unpack(packed)
      if gone[backfill.agent_id] then
        redis.call('HDEL', key('backfills'), backfill.room_id)
      end
    end
  end
  return found[1]
end

local gone, count = find_gone_agents()
local agents, cursor = {}, '0'
if count > 0 then
  cursor = search(gone)
  for agent in pairs(gone) do
    agents[#agents + 1] = agent
    inboxes[agent] = nil
  end
end
for _, id in ipairs(redis.call('ZRANGE', GATHERING, 0, request.limit)) do
  if redis.call('HEXISTS', TICKETS, id) == 0 then
    redis.call('ZREM', GATHERING, id)  -- Redis has lost the ticket
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', GATHERING, '-inf', now - request.gather_ms, 'LIMIT', 0, request.limit)) do
  end_waiting(id, 'timed_out', 'the party was not complete in time')
end
for _, id in ipairs(request.overdue) do
  if redis.call('ZSCORE', WAITING, id) then
    end_waiting(id, 'timed_out', 'no match was found in time')
  end
end

-- Drops a ticket that is neither waiting nor gathering, or whose player waits in another ticket: Redis has lost a
-- key. An agent that is missing in the set is added, so that it counts as failed if it does not sync from now on.
local function check_ticket(ticket)
  local id = ticket[TICKET_ID]
  if is_in_match(id) then
    return
  end
  local is_whole = redis.call('ZSCORE', WAITING, id) or redis.call('ZSCORE', GATHERING, id)
  for _, entry in ipairs(ticket[MEMBERS]) do
    is_whole = is_whole and is_waiting_in(entry, id)
    redis.call('ZADD', key('agents'), 'NX', now, entry[AGENT])
  end
  if not is_whole then
    drop(id)
    cancelled[#cancelled + 1] = id
  end
end

local checked = redis.call('HSCAN', TICKETS, request.check_cursor, 'COUNT', CHECK_COUNT)
for at = 2, #checked[2], 2 do
  check_ticket(cmsgpack.unpack(checked[2][at]))
end
finish()
return reply({status = 'ok', cancelled = cancelled, agents = agents, cursor = cursor, check_cursor = checked[1]})
