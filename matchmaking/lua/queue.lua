-- What all scripts on a mode's queue begin with. Not a script of its own: it is put before theirs.
-- ARGV  1 the prefix of all keys, which carries a hash tag for each mode   2 the request, a msgpack map
--
-- A player who waits is an entry. A ticket is one entry, or the entries of a whole party; it waits once the party is
-- complete. KEYS[1] names the slot; the other keys are made here from the prefix, and all have a TTL:
--   PREFIX:seq, :epoch, :mailed   counters: tickets that wait, leases of leaders, letters
--   PREFIX:tickets                hash: ticket -> {ticket_id, seq, since_ms, size, members (list of entries)}
--   PREFIX:entries                hash: entry -> ticket
--   PREFIX:players                hash: player -> entry; whoever asks again elsewhere replaces itself
--   PREFIX:parties                hash: code -> ticket that gathers its party
--   PREFIX:gathering              sorted set: ticket -> since when, ms
--   PREFIX:waiting                sorted set: ticket -> seq; that is the place in the queue
--   PREFIX:matches                hash: match that has no room yet -> what the leader decided
--   PREFIX:backfills              hash: room that wants players -> what it wants
--   PREFIX:desks                  sorted set: desk (a shard's run) -> when it was last heard of, ms
--   PREFIX:at:DESK                set: tickets that have an entry from this desk
--   PREFIX:mail:DESK              sorted set: letter -> its number; kept until the desk says that it has read it
--   PREFIX:leader:REGION          hash: owner, epoch; its TTL is the lease
--   PREFIX:lately:REGION          what a place in the queue has cost lately, ms

local prefix, asked = ARGV[1], cmsgpack.unpack(ARGV[2])
local KEEP_MS = 10 * 60 * 1000
local MAIL_MS = 60 * 1000

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function key(...)
  return prefix .. ':' .. table.concat({...}, ':')
end

local function answer(values)
  return cmsgpack.pack(values)
end

local function keep(...)
  for _, name in ipairs({...}) do
    redis.call('PEXPIRE', key(name), KEEP_MS)
  end
end

local function ticket_of(id)
  local found = id and redis.call('HGET', key('tickets'), id)
  return found and cmsgpack.unpack(found)
end

local function write_ticket(ticket)
  redis.call('HSET', key('tickets'), ticket.ticket_id, cmsgpack.pack(ticket))
end

-- A letter to the desk of an entry.
local function mail(entry, letter)
  letter.entry_id = entry.entry_id
  letter.number = redis.call('INCR', key('mailed'))
  local box = key('mail', entry.desk)
  redis.call('ZADD', box, letter.number, cmsgpack.pack(letter))
  redis.call('PEXPIRE', box, MAIL_MS)
  keep('mailed')
end

-- A ticket is over: nothing of it remains.
local function forget(ticket)
  redis.call('HDEL', key('tickets'), ticket.ticket_id)
  redis.call('ZREM', key('waiting'), ticket.ticket_id)
  redis.call('ZREM', key('gathering'), ticket.ticket_id)
  if ticket.party and redis.call('HGET', key('parties'), ticket.party) == ticket.ticket_id then
    redis.call('HDEL', key('parties'), ticket.party)
  end
  for _, entry in ipairs(ticket.members) do
    redis.call('HDEL', key('entries'), entry.entry_id)
    if redis.call('HGET', key('players'), entry.player_id) == entry.entry_id then
      redis.call('HDEL', key('players'), entry.player_id)
    end
    redis.call('SREM', key('at', entry.desk), ticket.ticket_id)
  end
end

-- A ticket that is in no match is over, and its members are told, but for one. Says whether it was.
local function cancel(id, state, reason, but_entry)
  local is_waiting = redis.call('ZSCORE', key('waiting'), id) or redis.call('ZSCORE', key('gathering'), id)
  local ticket = is_waiting and ticket_of(id)
  if not ticket then
    return false
  end
  forget(ticket)
  for _, entry in ipairs(ticket.members) do
    if entry.entry_id ~= but_entry then
      mail(entry, {kind = state, reason = reason})
    end
  end
  return true
end

local function leads(region, leader, epoch)
  local lease = redis.call('HMGET', key('leader', region), 'owner', 'epoch')
  return lease[1] == leader and tonumber(lease[2]) == epoch
end
