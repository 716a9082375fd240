-- What a desk has to say and to hear, in one go. After queue.lua.
-- KEYS  1 the slot
-- ARGV  2 {desk, region, read (the number of the last letter that was read),
--       enter (list of {entry_id, player_id, skill, latencies (list of {region, ms}), labels (list of KEY=VALUE),
--         party, size, since_ms (not 0: it waited before, and Redis has forgotten it)}),
--       leave (list of {player, entry}), known (list of {player, entry} that should be here),
--       ask (list of {player, entry}),
--       backfills (list of {room_id, shard_id, epoch, region, skill, labels, open (free seats of each team),
--         since_ms}), filled (list of rooms that want nobody any more)}
-- Result  {letters (list, see `mail`), unknown (entries of `known` that are not here), places (list of {entry, place,
--       missing}), lately_ms, waiting (how many tickets wait)}

local LETTERS_MAX = 500
local seq = #asked.enter > 0 and redis.call('INCRBY', key('seq'), #asked.enter) - #asked.enter

local function wait(ticket)
  seq = seq + 1
  ticket.seq = seq
  for _, entry in ipairs(ticket.members) do
    if entry.since_ms > 0 then
      ticket.since_ms = math.min(ticket.since_ms, entry.since_ms)
    end
  end
  if ticket.party then
    redis.call('ZREM', GATHERING, ticket.ticket_id)
    redis.call('HDEL', PARTIES, ticket.party)
  end
  redis.call('ZADD', WAITING, ticket.seq, ticket.ticket_id)
end

-- The ticket that an entry belongs to: its own, or its party's.
local function ticket_for(entry)
  local ticket = entry.party and ticket_of(redis.call('HGET', PARTIES, entry.party))
  if ticket then
    return ticket
  end
  -- The first entry of a ticket gives it its name.
  ticket = {ticket_id = entry.entry_id, seq = 0, since_ms = now, size = entry.size, party = entry.party, members = {}}
  if entry.party then
    redis.call('HSET', PARTIES, entry.party, ticket.ticket_id)
    redis.call('ZADD', GATHERING, now, ticket.ticket_id)
  end
  return ticket
end

local function enter(entry)
  entry.desk = asked.desk
  local before, old = waits_as(entry.player_id)
  if before == entry.entry_id then
    return  -- the same call again
  end
  if before and not cancel(old, 'cancelled', 'the player has asked again elsewhere') then
    return mail(entry, 'cancelled', 'a match has been found for the player already')
  end
  local ticket = ticket_for(entry)
  if ticket.size ~= entry.size then
    return mail(entry, 'cancelled', 'the friends do not agree on how many they are')
  end
  ticket.members[#ticket.members + 1] = entry
  if #ticket.members == ticket.size then
    wait(ticket)
  end
  redis.call('HSET', PLAYERS, entry.player_id, entry.entry_id .. ' ' .. ticket.ticket_id)
  redis.call('HSET', TICKETS, ticket.ticket_id, cmsgpack.pack(ticket))
end

-- A ticket's place in the queue, or how many of its party are missing.
local function place_of(entry, id)
  local rank = redis.call('ZRANK', WAITING, id)
  if rank then
    return {entry, rank + 1, 0}
  end
  local ticket = redis.call('ZSCORE', GATHERING, id) and ticket_of(id)
  return ticket and {entry, 0, ticket.size - #ticket.members}
end

redis.call('ZADD', key('desks'), now, asked.desk)
if asked.read > tonumber(redis.call('GET', key('mailed')) or 0) then
  -- Redis has forgotten how many letters there were: a new one must not have the number of one that was read.
  redis.call('SET', key('mailed'), asked.read, 'PX', KEEP_MS)
end
redis.call('ZREMRANGEBYSCORE', key('mail', asked.desk), '-inf', asked.read)
for _, who in ipairs(asked.leave) do
  local entry, id = waits_as(who[1])
  if entry == who[2] then
    cancel(id, 'cancelled', 'a friend has left the queue', entry)
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
finish()
keep('desks')
if #asked.enter > 0 or #asked.backfills > 0 then
  keep('seq', 'tickets', 'players', 'parties', 'gathering', 'waiting', 'backfills')
end

local unknown, places = {}, {}
for _, who in ipairs(asked.known) do
  if waits_as(who[1]) ~= who[2] then
    unknown[#unknown + 1] = who[2]
  end
end
for _, who in ipairs(asked.ask) do
  local entry, id = waits_as(who[1])
  if entry == who[2] then
    places[#places + 1] = place_of(entry, id)
  end
end
return answer_raw({
  unknown = unknown, places = places, waiting = redis.call('ZCARD', WAITING),
  lately_ms = tonumber(redis.call('GET', key('lately', asked.region)) or 0),
}, {
  letters = redis.call('ZRANGEBYSCORE', key('mail', asked.desk), '-inf', '+inf', 'LIMIT', 0, LETTERS_MAX),
})
