-- What a desk has to say and to hear, in one go. After queue.lua.
-- KEYS  1 the slot
-- ARGV  2 {desk, region, read (letters up to this number are deleted), after (letters above this number are returned),
--       is_again (the last answer was lost),
--       enter (list of {entry_id, player_id, party ('' for none), size, since_ms (not 0: it waited before, and Redis has
--         forgotten it)}),
--       leave (list of {player, entry}: they have left, unless a letter says that they were matched before), known (list of {player, entry} that should be here),
--       ask (list of {player, entry}),
--       backfills (list of {room_id, region, skill, open (free seats of each team), since_ms, labels}), filled (list of rooms that want nobody any more),
--       letters_max (so many are read at once)}
--       3... the entries, packed, in the order of `enter`
-- Result  {letters (list, see `mail`), unknown (entries of `known` that are not here), places (list of {entry, place,
--       missing}), lately_ms, waiting (how many tickets wait)}

local SIZE, SINCE_MS = 5, 6  -- of an entry
local seq

local function next_seq()
  if not seq then
    if redis.call('EXISTS', key('seq')) == 0 then  -- lost, or nobody has waited lately
      redis.call('SET', key('seq'), redis.call('ZREVRANGE', WAITING, 0, 0, 'WITHSCORES')[2] or 0)
    end
    seq = redis.call('INCRBY', key('seq'), #asked.enter) - #asked.enter
  end
  seq = seq + 1
  return seq
end

local function wait(id, since_ms, packed_members)
  local place = next_seq()
  redis.call('ZADD', WAITING, place, id)
  local ticket = string.char(0x94) .. cmsgpack.pack(id, place, since_ms) .. packed_members
  redis.call('HSET', TICKETS, id, ticket)
end

local function oldest(since_ms, more_ms)
  return more_ms > 0 and math.min(since_ms, more_ms) or since_ms
end

local function member_of(ticket, entry_id)
  for _, member in ipairs(ticket[MEMBERS]) do
    if member[ENTRY_ID] == entry_id then
      return member
    end
  end
end

-- One more of a party: it waits when all are there. Gives the ticket, or nothing when they do not agree.
local function gather(entry_id, party, size, since_ms, packed)
  local id = redis.call('HGET', PARTIES, party)
  local ticket = ticket_of(id)
  local members = ticket and ticket[MEMBERS] or {}
  if not (ticket and member_of(ticket, entry_id)) then
    members[#members + 1] = cmsgpack.unpack(packed)
  end
  if not ticket then
    id, ticket = entry_id, {entry_id, 0, now, members}  -- the first entry of a ticket gives it its name
    redis.call('HSET', PARTIES, party, id)
    redis.call('ZADD', GATHERING, now, id)
  elseif members[1][SIZE] ~= size then
    return nil
  end
  if #members < size then
    redis.call('HSET', TICKETS, id, cmsgpack.pack(ticket))
    return id
  end
  redis.call('ZREM', GATHERING, id)
  redis.call('HDEL', PARTIES, party)
  local first_ms = now
  for _, member in ipairs(members) do
    first_ms = oldest(first_ms, member[SINCE_MS])
  end
  wait(id, first_ms, cmsgpack.pack(members))
  return id
end

-- Whether a player waits as an entry that is newer than one that enters again. One that has not entered again is.
local function is_newer(entry_id, id, since_ms)
  local ticket = ticket_of(id)
  local member = ticket and member_of(ticket, entry_id)
  return member and (member[SINCE_MS] == 0 or member[SINCE_MS] > since_ms)
end

local function enter(entry_id, player_id, party, size, since_ms, packed)
  local before, old = waits_as(player_id)
  if before == entry_id then
    return  -- the same call again
  end
  if since_ms ~= 0 or asked.is_again then  -- it may have been here before, and Redis has lost a part of it
    if is_in_match(entry_id) then
      return
    end
    drop(entry_id)  -- a ticket has the name of its first entry
    if since_ms ~= 0 and before and is_newer(before, old, since_ms) then
      return mail(asked.desk, entry_id, 'cancelled', 'the player has asked again elsewhere')
    end
  end
  local is_taken = before and not cancel(old, 'cancelled', 'the player has asked again elsewhere')
    and not redis.call('ZSCORE', LEFT, before)
  if is_taken and is_in_match(before) then
    return mail(asked.desk, entry_id, 'cancelled', 'a match has been found for the player already')
  end
  local id = entry_id
  if party == '' then
    wait(id, oldest(now, since_ms), string.char(0x91) .. packed)
  else
    id = gather(entry_id, party, size, since_ms, packed)
  end
  if not id then
    return mail(asked.desk, entry_id, 'cancelled', 'the friends do not agree on how many they are')
  end
  redis.call('HSET', PLAYERS, player_id, entry_id .. ' ' .. id)
end

-- A ticket's place in the queue, or how many of its party are missing; nothing for one that has just been matched.
local function place_of(entry, id)
  local rank = redis.call('ZRANK', WAITING, id)
  if rank then
    return {entry, rank + 1, 0}
  end
  if redis.call('ZSCORE', GATHERING, id) then
    local members = ticket_of(id)[MEMBERS]
    return {entry, 0, members[1][SIZE] - #members}
  end
end

-- Finds a gathering ticket by its party again if Redis has lost that. False if another ticket gathers the party now.
local function is_found_by_party(id, ticket)
  local party = ticket[MEMBERS][1][PARTY]
  redis.call('HSETNX', PARTIES, party, id)
  return redis.call('HGET', PARTIES, party) == id
end

-- Whether an entry is where it should be: its ticket has it, and waits, gathers its party, or is in a match. Else what
-- is left of it is removed, and its desk enters it again.
local function is_known(player, entry)
  local found, id = waits_as(player)
  if found ~= entry then
    return is_in_match(entry)
  end
  local ticket = ticket_of(id)
  local has_entry = ticket and member_of(ticket, entry)
  if has_entry and redis.call('ZSCORE', WAITING, id) then
    return true
  elseif has_entry and redis.call('ZSCORE', GATHERING, id) and is_found_by_party(id, ticket) then
    return true
  elseif is_in_match(entry) then
    return true
  elseif has_entry or not ticket then
    drop(id)
  end
  redis.call('HDEL', PLAYERS, player)
  return false
end

redis.call('ZADD', key('desks'), now, asked.desk)
if asked.read > tonumber(redis.call('GET', key('mailed')) or 0) then
  -- Redis has forgotten how many letters there were: a new one must not have the number of one that was read.
  redis.call('SET', key('mailed'), string.format('%.0f', asked.read), 'PX', KEEP_MS)
end
redis.call('ZREMRANGEBYSCORE', key('mail', asked.desk), '-inf', asked.read)
for _, who in ipairs(asked.leave) do
  local entry, id = waits_as(who[1])
  if entry ~= who[2] or not cancel(id, 'cancelled', 'a friend has left the queue', entry) then
    if is_in_match(who[2]) then
      mark_left(who[2])  -- that match has no room yet: assign.lua drops it
    else
      drop(entry == who[2] and id or who[2])  -- what is left of its ticket, if Redis has lost a part of it
      if entry == who[2] then
        redis.call('HDEL', PLAYERS, who[1])
      end
    end
  end
end
-- Who entered in a call whose answer was lost, and has a letter since, is over: it must not enter again.
local answered = {}
for _, letter in ipairs(asked.is_again and redis.call('ZRANGE', key('mail', asked.desk), 0, -1) or {}) do
  answered[cmsgpack.unpack(letter)[2]] = true
end
for at, entry in ipairs(asked.enter) do
  entry[#entry + 1] = ARGV[2 + at]
  if not answered[entry[1]] then
    enter(unpack(entry))
  end
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
  if not is_known(who[1], who[2]) then
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
  letters = redis.call('ZRANGEBYSCORE', key('mail', asked.desk), string.format('(%.0f', asked.after), '+inf', 'LIMIT', 0,
    asked.letters_max),
})
