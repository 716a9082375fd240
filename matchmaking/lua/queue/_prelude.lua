-- The prelude of all scripts on the queue of a mode: script_runner.py puts it before each of them.
-- ARGV  1 the prefix of all keys, which contains a hash tag for each mode   2 the request, a msgpack map
--
-- A queued player is an entry. A ticket is one entry, or the entries of a party; it waits once the party is complete.
-- KEYS[1] names the slot. The scripts create all other keys from the prefix, and all of them have a TTL:
--   PREFIX:seq, :epoch         counters of tickets and of leases
--   PREFIX:notification_seq    counter of notifications; follows the clock, so that it keeps growing if it is lost
--   PREFIX:tickets             hash: ticket -> the packed ticket
--   PREFIX:players             hash: player -> entry, a space, ticket; a newer request of a player replaces it
--   PREFIX:parties             hash: code -> ticket of an incomplete party
--   PREFIX:gathering           sorted set: ticket of an incomplete party -> since when, ms
--   PREFIX:waiting             sorted set: complete ticket -> seq, which orders the queue
--   PREFIX:matches             hash: match without a room -> the packed match
--   PREFIX:left                sorted set: entry that left, or whose agent failed, while its match had no room ->
--                              when, ms; such a match is dropped
--   PREFIX:backfills           hash: room that requests players -> the packed request
--   PREFIX:agents              sorted set: queue agent -> its last sync, ms
--   PREFIX:inbox:AGENT         sorted set: notification -> its number; kept until the agent acknowledges it
--   PREFIX:forwards            hash: entry -> its agent, if another agent enqueued it (reassign_agent.lua)
--   PREFIX:leader:REGION       hash: owner, epoch; its TTL is the lease
--   PREFIX:recent_wait:REGION  the recent waiting time, ms
--
-- A ticket is an array: ticket_id, seq, since_ms, entries. An entry is an array: entry_id, player_id, agent_id,
-- party ('' if none), size, since_ms, and fields that only leaders read.
--
-- Any of these keys may be lost alone, if an operator deletes it or Redis evicts it. Agents verify their entries
-- (sync.lua), and the leader checks some tickets each second (sweep.lua). Players whose ticket is lost are enqueued
-- again; a ticket whose players wait in another one is dropped.
--
-- A script may handle hundreds of tickets while other calls wait. Therefore packed values are returned without
-- unpacking them, and writes for many tickets are collected and done once at the end (`finish`).

local prefix, request = ARGV[1], cmsgpack.unpack(ARGV[2])
local QUEUE_TTL_MS = 10 * 60 * 1000
local INBOX_TTL_MS = 60 * 1000

local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now = math.floor(now_us / 1000)

local function key(...)
  return prefix .. ':' .. table.concat({...}, ':')
end

local TICKETS, PLAYERS, PARTIES = key('tickets'), key('players'), key('parties')
local WAITING, GATHERING, MATCHES, LEFT = key('waiting'), key('gathering'), key('matches'), key('left')
local FORWARDS = key('forwards')

local function reply(values)
  return cmsgpack.pack(values)
end

local function touch_ttl(...)
  for _, name in ipairs({...}) do
    redis.call('PEXPIRE', key(name), QUEUE_TTL_MS)
  end
end

-- Returns the header of a msgpack array; packed values can follow it.
local function array_header(count)
  return string.char(0xdd, math.floor(count / 16777216) % 256, math.floor(count / 65536) % 256,
    math.floor(count / 256) % 256, count % 256)
end

-- Returns a msgpack map of plain values, and of lists whose values are packed already.
local function reply_packed(values, lists)
  local parts, count = {''}, 0
  for name, value in pairs(values) do
    count = count + 1
    parts[#parts + 1] = cmsgpack.pack(name, value)
  end
  for name, list in pairs(lists) do
    count = count + 1
    parts[#parts + 1] = cmsgpack.pack(name)
    parts[#parts + 1] = array_header(#list)
    parts[#parts + 1] = table.concat(list)
  end
  parts[1] = string.char(0x80 + count)
  return table.concat(parts)
end

-- Runs a command on many values, in chunks, because Lua limits the number of arguments.
local function each(command, name, values)
  for first = 1, #values, 2000 do
    redis.call(command, name, unpack(values, first, math.min(first + 1999, #values)))
  end
end

local TICKET_ID, MEMBERS = 1, 4                       -- of a ticket
local ENTRY_ID, PLAYER_ID, AGENT, PARTY = 1, 2, 3, 4   -- of an entry

local function get_ticket(id)
  local found = id and redis.call('HGET', TICKETS, id)
  return found and cmsgpack.unpack(found)
end

-- Sets the agent of an entry to the requesting one.
local function rebind(entry, id)
  local ticket = get_ticket(id)
  for _, member in ipairs(ticket and ticket[MEMBERS] or {}) do
    if member[ENTRY_ID] == entry then
      member[AGENT] = request.agent
      redis.call('HSET', TICKETS, id, cmsgpack.pack(ticket))
    end
  end
end

-- Returns the entry and the ticket under which a player waits.
local function find_entry(player)
  local found = redis.call('HGET', PLAYERS, player)
  if found then
    return string.match(found, '^(%S+) (%S+)$')
  end
end

-- Returns whether a player waits as this entry in this ticket. If not, the player has left or was enqueued again.
local function is_waiting_in(entry, id)
  local found, ticket_id = find_entry(entry[PLAYER_ID])
  return found == entry[ENTRY_ID] and ticket_id == id
end

local NOTHING = cmsgpack.pack(nil)
local first_number, notifications, inboxes, has_forwards = nil, 0, {}, nil

-- Adds a notification about an entry to the inbox of its agent; `room` is packed. A notification is an array: number,
-- entry_id, kind, reason, team, match_id, room.
local function notify(agent, entry_id, kind, reason, team, match_id, room)
  first_number = first_number or math.max(tonumber(redis.call('GET', key('notification_seq')) or 0), now_us)
  notifications = notifications + 1
  local number = first_number + notifications
  if has_forwards == nil then
    has_forwards = redis.call('EXISTS', FORWARDS) == 1
  end
  agent = has_forwards and redis.call('HGET', FORWARDS, entry_id) or agent
  local inbox = inboxes[agent] or {}
  inboxes[agent] = inbox
  inbox[#inbox + 1] = number
  inbox[#inbox + 1] = string.char(0x97) .. cmsgpack.pack(number, entry_id, kind, reason, team or 0, match_id or '')
    .. (room or NOTHING)
end

local function finish()
  if notifications > 0 then
    redis.call('SET', key('notification_seq'), string.format('%.0f', first_number + notifications), 'PX', QUEUE_TTL_MS)
  end
  for agent, inbox in pairs(inboxes) do
    each('ZADD', key('inbox', agent), inbox)
    redis.call('PEXPIRE', key('inbox', agent), INBOX_TTL_MS)
  end
end

-- Deletes tickets and the entries of their players.
local function delete_tickets(tickets, players)
  each('HDEL', TICKETS, tickets)
  each('HDEL', PLAYERS, players)
end

-- Cancels a ticket that is in no match, and notifies its members except one. Returns whether it was cancelled.
local function cancel(id, kind, reason, but_entry)
  local is_waiting = redis.call('ZREM', WAITING, id) == 1 or redis.call('ZREM', GATHERING, id) == 1
  local ticket = is_waiting and get_ticket(id)
  if not ticket then
    return false
  end
  local players = {}
  for _, entry in ipairs(ticket[MEMBERS]) do
    if is_waiting_in(entry, id) then
      players[#players + 1] = entry[PLAYER_ID]
    end
    if entry[ENTRY_ID] ~= but_entry then
      notify(entry[AGENT], entry[ENTRY_ID], kind, reason)
    end
  end
  delete_tickets({id}, players)
  local party = ticket[MEMBERS][1][PARTY]
  if party ~= '' and redis.call('HGET', PARTIES, party) == id then
    redis.call('HDEL', PARTIES, party)
  end
  return true
end

local matched  -- tickets and entries in matches without a room; read once, on demand

local function is_in_match(id)
  if not matched then
    matched = {}
    for _, packed in ipairs(redis.call('HVALS', MATCHES)) do
      local match = cmsgpack.unpack(packed)
      for _, ticket_id in ipairs(match[3]) do
        matched[ticket_id] = true
      end
      for _, player in ipairs(match[4]) do
        matched[player[2]] = true
      end
    end
  end
  return matched[id]
end

-- Deletes an incomplete ticket. The agents of its players find that the entries are unknown.
local function drop(id)
  local players = {}
  local ticket = get_ticket(id)
  for _, entry in ipairs(ticket and ticket[MEMBERS] or {}) do
    if is_waiting_in(entry, id) then
      players[#players + 1] = entry[PLAYER_ID]
    end
  end
  redis.call('ZREM', WAITING, id)
  redis.call('ZREM', GATHERING, id)
  delete_tickets({id}, players)
  local party = ticket and ticket[MEMBERS][1][PARTY] or ''
  if party ~= '' and redis.call('HGET', PARTIES, party) == id then
    redis.call('HDEL', PARTIES, party)
  end
end

-- Records that an entry has left while its match has no room yet; assign.lua then drops the match.
local function mark_left(entry_id)
  redis.call('ZREMRANGEBYSCORE', LEFT, '-inf', now - QUEUE_TTL_MS)
  redis.call('ZADD', LEFT, now, entry_id)
  touch_ttl('left')
end

-- Returns packed backfills: all, or a random sample of `limit`.
local function sample_backfills(limit)
  local found = {}
  for at, value in ipairs(redis.call('HRANDFIELD', key('backfills'), limit, 'WITHVALUES')) do
    if at % 2 == 0 then
      found[#found + 1] = value
    end
  end
  return found
end

local function is_leader(region, leader, epoch)
  local lease = redis.call('HMGET', key('leader', region), 'owner', 'epoch')
  return lease[1] == leader and tonumber(lease[2]) == epoch
end
