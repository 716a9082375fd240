-- Matches become final: their players are told of the room; or are dropped, and their players wait where they were.
-- A match is dropped when it got no room, or when one of its players has left, or has ended with its desk, before this
-- script ran. Who leaves afterwards is in the match: the letter is on its way. After queue.lua.
-- KEYS  1 the slot
-- ARGV  2 {found (list of {match_id, room (a map, told to all)}), failed (list of matches that got no room)}
-- Result  {assigned, returned (those that failed), dropped (those that a player has left): lists of matches}; a match
--       that was assigned, returned or dropped before is in none of them

local MATCH_ID, TICKETS_OF, PLAYERS_OF = 1, 3, 4     -- of a match; a player of one: desk, entry_id, player_id, team
local SEQ = 2  -- of a ticket
local assigned, returned, dropped, tickets, players = {}, {}, {}, {}, {}
local has_leavers = redis.call('EXISTS', LEFT) == 1

local function take(id)
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

local function tell(match, room)
  for _, id in ipairs(match[TICKETS_OF]) do
    tickets[#tickets + 1] = id
  end
  for _, player in ipairs(match[PLAYERS_OF]) do
    local desk, entry_id, player_id, team = unpack(player)
    if waits_as(player_id) == entry_id then  -- else it waits again, since Redis had lost that it waits
      players[#players + 1] = player_id
    end
    mail(desk, entry_id, 'found', '', team, match[MATCH_ID], room)
  end
end

-- Restores that the players of a ticket wait, if Redis has lost it meanwhile. A player that waits in another ticket since
-- then stays there, and this ticket is dropped.
local function restore_players(id, ticket)
  for _, entry in ipairs(ticket[MEMBERS]) do
    redis.call('HSETNX', PLAYERS, entry[PLAYER_ID], entry[ENTRY_ID] .. ' ' .. id)
    if not waits_in(entry, id) then
      return drop(id)
    end
  end
end

-- A ticket waits where it was. One that a member has left is over.
local function wait_again(id)
  local ticket = ticket_of(id)
  if not ticket then
    return
  end
  redis.call('ZADD', WAITING, ticket[SEQ], id)
  for _, entry in ipairs(ticket[MEMBERS]) do
    if has_left(entry[ENTRY_ID]) then
      redis.call('ZREM', LEFT, entry[ENTRY_ID])
      cancel(id, 'cancelled', 'a friend has left the queue')
      return
    end
  end
  restore_players(id, ticket)
end

for _, result in ipairs(asked.found) do
  local match = take(result.match_id)
  if match and is_complete(match) then
    assigned[#assigned + 1] = match[MATCH_ID]
    tell(match, cmsgpack.pack(result.room))
  elseif match then
    dropped[#dropped + 1] = match
  end
end
forget(tickets, players)
for at, match in ipairs(dropped) do
  for _, id in ipairs(match[TICKETS_OF]) do
    wait_again(id)
  end
  dropped[at] = match[MATCH_ID]
end
for _, id in ipairs(asked.failed) do
  local match = take(id)
  for _, ticket_id in ipairs(match and match[TICKETS_OF] or {}) do
    wait_again(ticket_id)
  end
  if match then
    returned[#returned + 1] = id
  end
end
finish()
keep('waiting', 'players')
return answer({assigned = assigned, returned = returned, dropped = dropped})
