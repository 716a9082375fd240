-- Matches have got their rooms, or have not: their players are told, or wait on where they were. After queue.lua.
-- KEYS  1 the slot
-- ARGV  2 {found (list of {match_id, room (a map, told to all)}), failed (list of matches: their players wait on)}
-- Result  {assigned (list of matches), returned (list of matches)}; what was assigned before is in neither

local MATCH_ID, TICKETS_OF, PLAYERS_OF = 1, 3, 4     -- of a match; a player of one: desk, entry_id, player_id, team
local SEQ = 2  -- of a ticket
local assigned, returned, tickets, players = {}, {}, {}, {}

local function take(id)
  local found = redis.call('HGET', MATCHES, id)
  if found then
    redis.call('HDEL', MATCHES, id)
    return cmsgpack.unpack(found)
  end
end

for _, result in ipairs(asked.found) do
  local match = take(result.match_id)
  if match then
    assigned[#assigned + 1] = match[MATCH_ID]
    local room = cmsgpack.pack(result.room)
    for _, id in ipairs(match[TICKETS_OF]) do
      tickets[#tickets + 1] = id
    end
    for _, player in ipairs(match[PLAYERS_OF]) do
      local desk, entry_id, player_id, team = unpack(player)
      players[#players + 1] = player_id
      mail(desk, entry_id, 'found', '', team, match[MATCH_ID], room)
    end
  end
end
forget(tickets, players)
-- A ticket waits where it was, unless somebody of it has left meanwhile, or is gone with its desk.
local function wait_again(id)
  local ticket = ticket_of(id)
  if not ticket then
    return
  end
  redis.call('ZADD', WAITING, ticket[SEQ], id)
  for _, entry in ipairs(ticket[MEMBERS]) do
    if redis.call('ZSCORE', LEFT, entry[ENTRY_ID]) or not redis.call('ZSCORE', key('desks'), entry[DESK]) then
      cancel(id, 'cancelled', 'a friend has left the queue')
      return
    end
  end
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
keep('waiting')
return answer({assigned = assigned, returned = returned})
