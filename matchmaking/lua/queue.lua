-- What all scripts on a mode's queue begin with. Not a script of its own: it is put before theirs.
-- ARGV  1 the prefix of all keys, which carries a hash tag for each mode   2 the request, a msgpack map
--
-- A player who waits is an entry. A ticket is one entry, or the entries of a whole party; it waits once the party is
-- complete. KEYS[1] names the slot; the other keys are made here from the prefix, and all have a TTL:
--   PREFIX:seq, :epoch, :mailed   counters: tickets that wait, leases of leaders, letters. Letters follow the clock, so that
--                                 their numbers grow on when the counter is lost
--   PREFIX:tickets                hash: ticket -> a ticket, packed
--   PREFIX:players                hash: player -> entry, a space, ticket; whoever asks again replaces itself
--   PREFIX:parties                hash: code -> ticket that gathers its party
--   PREFIX:gathering              sorted set: ticket -> since when, ms
--   PREFIX:waiting                sorted set: ticket -> seq; that is the place in the queue
--   PREFIX:matches                hash: match that has no room yet -> what the leader decided, packed
--   PREFIX:left                   sorted set: entry that left, or whose desk ended, while its match had no room yet
--                                 -> when, ms; such a match is dropped
--   PREFIX:backfills              hash: room that wants players -> what it wants
--   PREFIX:desks                  sorted set: desk (a shard's run) -> when it was last heard of, ms
--   PREFIX:mail:DESK              sorted set: letter -> its number; kept until the desk says that it has read it
--   PREFIX:forwards               hash: entry -> its desk, where that is not the one it entered at (adopt.lua)
--   PREFIX:leader:REGION          hash: owner, epoch; its TTL is the lease
--   PREFIX:lately:REGION          what a place in the queue has cost lately, ms
--
-- A ticket is an array: ticket_id, seq, since_ms, entries. An entry is one too: entry_id, player_id, desk, party ('' for
-- none), size, since_ms, and what only leaders read.
--
-- Any of these keys may be lost alone: an operator deletes it, or Redis evicts it. What is left over is found by the desks,
-- which ask whether their entries are known (desk.lua), and by the leader, which checks some tickets each second
-- (sweep.lua); players whose ticket is lost enter again, and a ticket whose players are elsewhere is dropped.
--
-- A script may handle hundreds of tickets, and others wait for it: what is stored packed is given out as it is, and
-- what is the same for many is done once at the end (`finish`).

local prefix, asked = ARGV[1], cmsgpack.unpack(ARGV[2])
local KEEP_MS = 10 * 60 * 1000
local MAIL_MS = 60 * 1000

local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now = math.floor(now_us / 1000)

local function key(...)
  return prefix .. ':' .. table.concat({...}, ':')
end

local TICKETS, PLAYERS, PARTIES = key('tickets'), key('players'), key('parties')
local WAITING, GATHERING, MATCHES, LEFT = key('waiting'), key('gathering'), key('matches'), key('left')
local FORWARDS = key('forwards')

local function answer(values)
  return cmsgpack.pack(values)
end

local function keep(...)
  for _, name in ipairs({...}) do
    redis.call('PEXPIRE', key(name), KEEP_MS)
  end
end

-- The header of a msgpack array of so many: packed values may follow it as they are.
local function array_of(count)
  return string.char(0xdd, math.floor(count / 16777216) % 256, math.floor(count / 65536) % 256,
    math.floor(count / 256) % 256, count % 256)
end

-- A msgpack map of plain values and of lists whose values are packed already.
local function answer_raw(values, lists)
  local parts, count = {''}, 0
  for name, value in pairs(values) do
    count = count + 1
    parts[#parts + 1] = cmsgpack.pack(name, value)
  end
  for name, list in pairs(lists) do
    count = count + 1
    parts[#parts + 1] = cmsgpack.pack(name)
    parts[#parts + 1] = array_of(#list)
    parts[#parts + 1] = table.concat(list)
  end
  parts[1] = string.char(0x80 + count)
  return table.concat(parts)
end

-- Runs a command on many values, some at a time: Lua cannot pass on more.
local function each(command, name, values)
  for first = 1, #values, 2000 do
    redis.call(command, name, unpack(values, first, math.min(first + 1999, #values)))
  end
end

local TICKET_ID, MEMBERS = 1, 4                       -- of a ticket
local ENTRY_ID, PLAYER_ID, DESK, PARTY = 1, 2, 3, 4   -- of an entry

local function ticket_of(id)
  local found = id and redis.call('HGET', TICKETS, id)
  return found and cmsgpack.unpack(found)
end

-- The entry and the ticket under which a player waits.
local function waits_as(player)
  local found = redis.call('HGET', PLAYERS, player)
  if found then
    return string.match(found, '^(%S+) (%S+)$')
  end
end

-- Whether an entry's player waits as this entry in this ticket. Else it has left, or has entered again since.
local function waits_in(entry, id)
  local found, ticket_id = waits_as(entry[PLAYER_ID])
  return found == entry[ENTRY_ID] and ticket_id == id
end

local NOTHING = cmsgpack.pack(nil)
local first_letter, letters, boxes, has_forwards = nil, 0, {}, nil

-- A letter to a desk about an entry; `room` is packed already. A letter is an array:
-- number, entry_id, kind, reason, team, match_id, room.
local function mail(desk, entry_id, kind, reason, team, match_id, room)
  first_letter = first_letter or math.max(tonumber(redis.call('GET', key('mailed')) or 0), now_us)
  letters = letters + 1
  local number = first_letter + letters
  if has_forwards == nil then
    has_forwards = redis.call('EXISTS', FORWARDS) == 1
  end
  desk = has_forwards and redis.call('HGET', FORWARDS, entry_id) or desk
  local box = boxes[desk] or {}
  boxes[desk] = box
  box[#box + 1] = number
  box[#box + 1] = string.char(0x97) .. cmsgpack.pack(number, entry_id, kind, reason, team or 0, match_id or '')
    .. (room or NOTHING)
end

local function finish()
  if letters > 0 then
    redis.call('SET', key('mailed'), string.format('%.0f', first_letter + letters), 'PX', KEEP_MS)
  end
  for desk, box in pairs(boxes) do
    each('ZADD', key('mail', desk), box)
    redis.call('PEXPIRE', key('mail', desk), MAIL_MS)
  end
end

-- Tickets are over: nothing of them remains.
local function forget(tickets, players)
  each('HDEL', TICKETS, tickets)
  each('HDEL', PLAYERS, players)
end

-- A ticket that is in no match is over, and its members are told, but for one. Says whether it was.
local function cancel(id, kind, reason, but_entry)
  local is_waiting = redis.call('ZREM', WAITING, id) == 1 or redis.call('ZREM', GATHERING, id) == 1
  local ticket = is_waiting and ticket_of(id)
  if not ticket then
    return false
  end
  local players = {}
  for _, entry in ipairs(ticket[MEMBERS]) do
    if waits_in(entry, id) then
      players[#players + 1] = entry[PLAYER_ID]
    end
    if entry[ENTRY_ID] ~= but_entry then
      mail(entry[DESK], entry[ENTRY_ID], kind, reason)
    end
  end
  forget({id}, players)
  local party = ticket[MEMBERS][1][PARTY]
  if party ~= '' and redis.call('HGET', PARTIES, party) == id then
    redis.call('HDEL', PARTIES, party)
  end
  return true
end

local matched  -- tickets, and entries, in matches that have no room yet: read once, and only where it matters

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

-- A ticket of which something is lost: nothing of it remains. Its players' desks find that they are unknown.
local function drop(id)
  local players = {}
  local ticket = ticket_of(id)
  for _, entry in ipairs(ticket and ticket[MEMBERS] or {}) do
    if waits_in(entry, id) then
      players[#players + 1] = entry[PLAYER_ID]
    end
  end
  redis.call('ZREM', WAITING, id)
  redis.call('ZREM', GATHERING, id)
  forget({id}, players)
  local party = ticket and ticket[MEMBERS][1][PARTY] or ''
  if party ~= '' and redis.call('HGET', PARTIES, party) == id then
    redis.call('HDEL', PARTIES, party)
  end
end

-- An entry has left while its ticket is in a match that has no room yet: that match is dropped (assign.lua).
local function mark_left(entry_id)
  redis.call('ZREMRANGEBYSCORE', LEFT, '-inf', now - KEEP_MS)
  redis.call('ZADD', LEFT, now, entry_id)
  keep('left')
end

-- Rooms that want players, packed: all, or so many of them at random.
local function some_backfills(limit)
  local found = {}
  for at, value in ipairs(redis.call('HRANDFIELD', key('backfills'), limit, 'WITHVALUES')) do
    if at % 2 == 0 then
      found[#found + 1] = value
    end
  end
  return found
end

local function leads(region, leader, epoch)
  local lease = redis.call('HMGET', key('leader', region), 'owner', 'epoch')
  return lease[1] == leader and tonumber(lease[2]) == epoch
end
