-- Synchronises a queue agent: applies its changes and returns its notifications.
-- KEYS  1 the slot
-- ARGV  2 {agent, region, delete_up_to (notifications up to this number are deleted), after (notifications above this
--       number are returned), is_retry (the reply to the last call was lost),
--       enqueue (list of {entry_id, player_id, party ('' if none), size, since_ms (not 0 if the player waited before
--         and Redis has lost the entry)}),
--       dequeue (list of {player, entry}; has no effect on a player who was matched before),
--       verify (list of {player, entry} that Redis should have), positions (list of {player, entry} to locate),
--       backfills (list of {room_id, region, skill, open_slots (list: free seats of each team), since_ms, labels}),
--       filled (list of rooms that need no more players), notifications_max}
--       3... the packed entries, in the order of `enqueue`
-- Result  {notifications (list, see `notify`), unknown (list: entries of `verify` that Redis does not have),
--       positions (list of {entry, position, missing}), recent_wait_ms, waiting (the number of waiting tickets)}

local SIZE, SINCE_MS = 5, 6  -- of an entry
local seq

local function next_seq()
  if not seq then
    if redis.call('EXISTS', key('seq')) == 0 then  -- lost, or expired in an empty queue
      redis.call('SET', key('seq'), redis.call('ZREVRANGE', WAITING, 0, 0, 'WITHSCORES')[2] or 0)
    end
    seq = redis.call('INCRBY', key('seq'), #request.enqueue) - #request.enqueue
  end
  seq = seq + 1
  return seq
end

local function add_waiting(id, since_ms, packed_members)
  local number = next_seq()
  redis.call('ZADD', WAITING, number, id)
  local ticket = string.char(0x94) .. cmsgpack.pack(id, number, since_ms) .. packed_members
  redis.call('HSET', TICKETS, id, ticket)
end

local function oldest(since_ms, more_ms)
  return more_ms > 0 and math.min(since_ms, more_ms) or since_ms
end

local function find_member(ticket, entry_id)
  for _, member in ipairs(ticket[MEMBERS]) do
    if member[ENTRY_ID] == entry_id then
      return member
    end
  end
end

-- Adds an entry to its party, which waits once it is complete. Returns the ticket, or nil if the sizes differ.
local function add_to_party(entry_id, party, size, since_ms, packed)
  local id = redis.call('HGET', PARTIES, party)
  local ticket = get_ticket(id)
  local members = ticket and ticket[MEMBERS] or {}
  if not (ticket and find_member(ticket, entry_id)) then
    members[#members + 1] = cmsgpack.unpack(packed)
  end
  if not ticket then
    id, ticket = entry_id, {entry_id, 0, now, members}  -- a ticket has the id of its first entry
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
  add_waiting(id, first_ms, cmsgpack.pack(members))
  return id
end

-- Returns whether an entry is newer than one that is enqueued again. An entry that was enqueued only once is.
local function is_newer(entry_id, id, since_ms)
  local ticket = get_ticket(id)
  local member = ticket and find_member(ticket, entry_id)
  return member and (member[SINCE_MS] == 0 or member[SINCE_MS] > since_ms)
end

local function enqueue(entry_id, player_id, party, size, since_ms, packed)
  local before, old = find_entry(player_id)
  if before == entry_id then  -- a repeated call
    -- Or the previous agent's call arrived after this agent had attached the player.
    if since_ms ~= 0 and redis.call('HGET', FORWARDS, entry_id) == request.agent then
      rebind(entry_id, old)
    end
    return
  end
  if since_ms ~= 0 or request.is_retry then  -- the entry may have existed, and Redis has lost a part of it
    if is_in_match(entry_id) then
      return
    end
    drop(entry_id)  -- a ticket has the id of its first entry
    if since_ms ~= 0 and before and is_newer(before, old, since_ms) then
      return notify(request.agent, entry_id, 'cancelled', 'the player has requested another match')
    end
  end
  local is_taken = before and not cancel(old, 'cancelled', 'the player has requested another match')
    and not redis.call('ZSCORE', LEFT, before)
  if is_taken and is_in_match(before) then
    return notify(request.agent, entry_id, 'cancelled', 'the player is already in a match')
  end
  local id = entry_id
  if party == '' then
    add_waiting(id, oldest(now, since_ms), string.char(0x91) .. packed)
  else
    id = add_to_party(entry_id, party, size, since_ms, packed)
  end
  if not id then
    return notify(request.agent, entry_id, 'cancelled', 'the members of the party sent different sizes')
  end
  redis.call('HSET', PLAYERS, player_id, entry_id .. ' ' .. id)
end

-- Returns the position of a ticket, or the number of missing members; nil if it has just been matched.
local function get_position(entry, id)
  local rank = redis.call('ZRANK', WAITING, id)
  if rank then
    return {entry, rank + 1, 0}
  end
  if redis.call('ZSCORE', GATHERING, id) then
    local members = get_ticket(id)[MEMBERS]
    return {entry, 0, members[1][SIZE] - #members}
  end
end

-- Restores the party of a gathering ticket if Redis has lost it. Returns false if another ticket gathers the party
-- now.
local function is_found_by_party(id, ticket)
  local party = ticket[MEMBERS][1][PARTY]
  redis.call('HSETNX', PARTIES, party, id)
  return redis.call('HGET', PARTIES, party) == id
end

-- Returns whether an entry is complete: its ticket contains it, and waits, gathers its party, or is in a match. If
-- not, the rest of it is deleted, and its agent enqueues it again.
local function is_known(player, entry)
  local found, id = find_entry(player)
  if found ~= entry then
    return is_in_match(entry)
  end
  local ticket = get_ticket(id)
  local has_entry = ticket and find_member(ticket, entry)
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

redis.call('ZADD', key('agents'), now, request.agent)
if request.delete_up_to > tonumber(redis.call('GET', key('notification_seq')) or 0) then
  -- Redis has lost the counter: a new notification must not get the number of one that was received.
  redis.call('SET', key('notification_seq'), string.format('%.0f', request.delete_up_to), 'PX', QUEUE_TTL_MS)
end
redis.call('ZREMRANGEBYSCORE', key('inbox', request.agent), '-inf', request.delete_up_to)
for _, item in ipairs(request.dequeue) do
  local entry, id = find_entry(item[1])
  if entry ~= item[2] or not cancel(id, 'cancelled', 'a member of the party has left the queue', entry) then
    if is_in_match(item[2]) then
      mark_left(item[2])  -- the match has no room yet: assign.lua drops it
    else
      drop(entry == item[2] and id or item[2])  -- the rest of its ticket, if Redis has lost a part of it
      if entry == item[2] then
        redis.call('HDEL', PLAYERS, item[1])
      end
    end
  end
end
-- An entry that may have been enqueued before must not be enqueued again if it has a notification since.
local is_retry = request.is_retry
for _, entry in ipairs(request.enqueue) do
  is_retry = is_retry or entry[5] ~= 0  -- since_ms
end
local notified = {}
for _, notification in ipairs(is_retry and redis.call('ZRANGE', key('inbox', request.agent), 0, -1) or {}) do
  notified[cmsgpack.unpack(notification)[2]] = true
end
for at, entry in ipairs(request.enqueue) do
  entry[#entry + 1] = ARGV[2 + at]
  if not notified[entry[1]] then
    enqueue(unpack(entry))
  end
end
for _, backfill in ipairs(request.backfills) do
  backfill.agent_id = request.agent
  redis.call('HSET', key('backfills'), backfill.room_id, cmsgpack.pack(backfill))
end
for _, room in ipairs(request.filled) do
  redis.call('HDEL', key('backfills'), room)
end
finish()
touch_ttl('agents')
if #request.enqueue > 0 or #request.backfills > 0 then
  touch_ttl('seq', 'tickets', 'players', 'parties', 'gathering', 'waiting', 'backfills')
end

local unknown, positions = {}, {}
for _, item in ipairs(request.verify) do
  if not is_known(item[1], item[2]) then
    unknown[#unknown + 1] = item[2]
  end
end
for _, item in ipairs(request.positions) do
  local entry, id = find_entry(item[1])
  if entry == item[2] then
    positions[#positions + 1] = get_position(entry, id)
  end
end
return reply_packed({
  unknown = unknown, positions = positions, waiting = redis.call('ZCARD', WAITING),
  recent_wait_ms = tonumber(redis.call('GET', key('recent_wait', request.region)) or 0),
}, {
  notifications = redis.call('ZRANGEBYSCORE', key('inbox', request.agent), string.format('(%.0f', request.after), '+inf', 'LIMIT', 0,
    request.notifications_max),
})
