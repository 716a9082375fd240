-- Makes matches final and notifies their players of the room, or returns their tickets to the queue. A match is
-- dropped if it got no room, or if one of its players left, or the player's agent failed, before this script ran. A
-- player who leaves later is in the match, because the notification is already in the inbox.
-- KEYS  1 the slot
-- ARGV  2 {found (list of {match_id, room (a map, sent to all players)}), failed (list of matches without a room)}
-- Result  {assigned, returned (those that failed), dropped (those that a player has left)}: lists of matches; a match
--       that was assigned, returned or dropped before is in none of them

local MATCH_ID, TICKETS_OF, PLAYERS_OF = 1, 3, 4     -- of a match; a player of one: agent, entry_id, player_id, team
local SEQ = 2  -- of a ticket
local assigned, returned, dropped, tickets, players = {}, {}, {}, {}, {}
local has_leavers = redis.call('EXISTS', LEFT) == 1

local function pop_match(id)
  local found = redis.call('HGET', MATCHES, id)
  if found then
    redis.call('HDEL', MATCHES, id)
    return cmsgpack.unpack(found)
  end
end

local function has_left(entry_id)
  return has_leavers and redis.call('ZSCORE', LEFT, entry_id)
end

local function is_complete(match)
  for _, player in ipairs(has_leavers and match[PLAYERS_OF] or {}) do
    if has_left(player[2]) then
      return false
    end
  end
  return true
end

local function notify_match(match, room)
  for _, id in ipairs(match[TICKETS_OF]) do
    tickets[#tickets + 1] = id
  end
  for _, player in ipairs(match[PLAYERS_OF]) do
    local agent, entry_id, player_id, team = unpack(player)
    if find_entry(player_id) == entry_id then  -- otherwise the player was enqueued again, because Redis had lost the entry
      players[#players + 1] = player_id
    end
    notify(agent, entry_id, 'found', '', team, match[MATCH_ID], room)
  end
end

-- Restores the entries of a ticket's players if Redis has lost them. If a player waits in another ticket by now, this
-- ticket is dropped.
local function restore_players(id, ticket)
  for _, entry in ipairs(ticket[MEMBERS]) do
    redis.call('HSETNX', PLAYERS, entry[PLAYER_ID], entry[ENTRY_ID] .. ' ' .. id)
    if not is_waiting_in(entry, id) then
      return drop(id)
    end
  end
end

-- Returns a ticket to its position in the queue. A ticket that a member has left is cancelled.
local function requeue(id)
  local ticket = get_ticket(id)
  if not ticket then
    return
  end
  redis.call('ZADD', WAITING, ticket[SEQ], id)
  for _, entry in ipairs(ticket[MEMBERS]) do
    if has_left(entry[ENTRY_ID]) then
      redis.call('ZREM', LEFT, entry[ENTRY_ID])
      cancel(id, 'cancelled', 'a member of the party has left the queue')
      return
    end
  end
  restore_players(id, ticket)
end

for _, result in ipairs(request.found) do
  local match = pop_match(result.match_id)
  if match and is_complete(match) then
    assigned[#assigned + 1] = match[MATCH_ID]
    notify_match(match, cmsgpack.pack(result.room))
  elseif match then
    dropped[#dropped + 1] = match
  end
end
delete_tickets(tickets, players)
for at, match in ipairs(dropped) do
  for _, id in ipairs(match[TICKETS_OF]) do
    requeue(id)
  end
  dropped[at] = match[MATCH_ID]
end
for _, id in ipairs(request.failed) do
  local match = pop_match(id)
  for _, ticket_id in ipairs(match and match[TICKETS_OF] or {}) do
    requeue(ticket_id)
  end
  if match then
    returned[#returned + 1] = id
  end
end
finish()
touch_ttl('waiting', 'players')
return reply({assigned = assigned, returned = returned, dropped = dropped})
