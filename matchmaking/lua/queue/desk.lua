-- What a desk has to say and to hear, in one go. After queue.lua.
-- KEYS  1 the slot
-- ARGV  2 {desk, region, read (the number of the last letter that was read),
--       enter (list of {entry_id, player_id, skill, latencies (list of {region, ms}), labels (list of KEY=VALUE),
--         party, size, since_ms (not 0: it waited before, and Redis has forgotten it)}),
--       leave (list of entries), known (list of entries that should be here), ask (list of entries),
--       backfills (list of {room_id, shard_id, epoch, region, skill, labels, open (free seats of each team),
--         since_ms}), filled (list of rooms that want nobody any more)}
-- Result  {letters (list), unknown (those of `known` that are not here), places (list of {entry, place, missing}),
--       lately_ms, waiting (how many tickets wait)}
--       A letter: {number, entry_id, kind = "found" | "cancelled" | "timed_out", reason, team, room...}

local LETTERS_MAX = 500

local function wait(ticket)
  ticket.seq = redis.call('INCR', key('seq'))
  local first = now
  for _, entry in ipairs(ticket.members) do
    if entry.since_ms > 0 then
      first = math.min(first, entry.since_ms)
    end
  end
  ticket.since_ms = first
  redis.call('ZREM', key('gathering'), ticket.ticket_id)
  redis.call('ZADD', key('waiting'), ticket.seq, ticket.ticket_id)
  if ticket.party then
    redis.call('HDEL', key('parties'), ticket.party)
  end
end

local function new_ticket(entry)
  local id = entry.entry_id  -- the first entry of a ticket gives it its name
  return {ticket_id = id, seq = 0, since_ms = now, size = entry.size, party = entry.party, members = {}}
end

local function enter(entry)
  if redis.call('HEXISTS', key('entries'), entry.entry_id) == 1 then
    return  -- the same call again
  end
  entry.desk = asked.desk
  local before = redis.call('HGET', key('players'), entry.player_id)
  if before then
    local id = redis.call('HGET', key('entries'), before)
    if id and not cancel(id, 'cancelled', 'the player has asked again elsewhere') then
      return mail(entry, {kind = 'cancelled', reason = 'a match has been found for the player already'})
    end
  end
  local ticket = entry.party and ticket_of(redis.call('HGET', key('parties'), entry.party))
  if ticket and ticket.size ~= entry.size then
    return mail(entry, {kind = 'cancelled', reason = 'the friends do not agree on how many they are'})
  end
  if not ticket then
    ticket = new_ticket(entry)
    if entry.party then
      redis.call('HSET', key('parties'), entry.party, ticket.ticket_id)
      redis.call('ZADD', key('gathering'), now, ticket.ticket_id)
    end
  end
  ticket.members[#ticket.members + 1] = entry
  redis.call('HSET', key('entries'), entry.entry_id, ticket.ticket_id)
  redis.call('HSET', key('players'), entry.player_id, entry.entry_id)
  redis.call('SADD', key('at', asked.desk), ticket.ticket_id)
  if #ticket.members == ticket.size then
    wait(ticket)
  end
  write_ticket(ticket)
end

redis.call('ZADD', key('desks'), now, asked.desk)
if asked.read > tonumber(redis.call('GET', key('mailed')) or 0) then
  -- Redis has forgotten how many letters there were: a new one must not have the number of one that was read.
  redis.call('SET', key('mailed'), asked.read, 'PX', KEEP_MS)
end
redis.call('ZREMRANGEBYSCORE', key('mail', asked.desk), '-inf', asked.read)
for _, id in ipairs(asked.leave) do
  local ticket = redis.call('HGET', key('entries'), id)
  if ticket then
    cancel(ticket, 'cancelled', 'a friend has left the queue', id)
  end
end
for _, entry in ipairs(asked.enter) do
  enter(entry)
end
for _, wanted in ipairs(asked.backfills) do
  wanted.desk = asked.desk
  redis.call('HSET', key('backfills'), wanted.room_id, cmsgpack.pack(wanted))
end
for _, room in ipairs(asked.filled) do
  redis.call('HDEL', key('backfills'), room)
end
if #asked.enter > 0 or #asked.backfills > 0 then
  keep('seq', 'mailed', 'tickets', 'entries', 'players', 'parties', 'gathering', 'waiting', 'backfills')
end
keep('desks')
redis.call('PEXPIRE', key('at', asked.desk), KEEP_MS)

local letters = {}
local box = redis.call('ZRANGEBYSCORE', key('mail', asked.desk), '-inf', '+inf', 'LIMIT', 0, LETTERS_MAX)
for at, letter in ipairs(box) do
  letters[at] = cmsgpack.unpack(letter)
end
local unknown = {}
for _, id in ipairs(asked.known) do
  if redis.call('HEXISTS', key('entries'), id) == 0 then
    unknown[#unknown + 1] = id
  end
end
local places = {}
for _, id in ipairs(asked.ask) do
  local name = redis.call('HGET', key('entries'), id)
  local rank = name and redis.call('ZRANK', key('waiting'), name)
  if rank then
    places[#places + 1] = {id, rank + 1, 0}
  elseif name and redis.call('ZSCORE', key('gathering'), name) then
    local ticket = ticket_of(name)
    places[#places + 1] = {id, 0, ticket.size - #ticket.members}
  end
end
return answer({
  letters = letters, unknown = unknown, places = places, waiting = redis.call('ZCARD', key('waiting')),
  lately_ms = tonumber(redis.call('GET', key('lately', asked.region)) or 0),
})
