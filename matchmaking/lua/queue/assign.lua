-- Matches have got their rooms, or have not: their players are told, or wait on where they were. After queue.lua.
-- KEYS  1 the slot
-- ARGV  2 {found (list of {match_id, room (a map, told to all)}), failed (list of matches: their players wait on)}
-- Result  {assigned (list of matches), returned (list of matches)}; what was assigned before is in neither

local assigned, returned = {}, {}

local function take(id)
  local found = redis.call('HGET', key('matches'), id)
  if found then
    redis.call('HDEL', key('matches'), id)
    return cmsgpack.unpack(found)
  end
end

for _, result in ipairs(asked.found) do
  local match = take(result.match_id)
  for at, id in ipairs(match and match.tickets or {}) do
    local ticket = ticket_of(id)
    if ticket then
      forget(ticket)
      for _, entry in ipairs(ticket.members) do
        mail(entry, {kind = 'found', team = match.teams[at], match_id = match.match_id, room = result.room})
      end
    end
  end
  if match then
    assigned[#assigned + 1] = match.match_id
  end
end
for _, id in ipairs(asked.failed) do
  local match = take(id)
  for _, ticket_id in ipairs(match and match.tickets or {}) do
    local ticket = ticket_of(ticket_id)
    if ticket then
      redis.call('ZADD', key('waiting'), ticket.seq, ticket_id)
    end
  end
  if match then
    returned[#returned + 1] = id
  end
end
keep('mailed', 'waiting')
return answer({assigned = assigned, returned = returned})
