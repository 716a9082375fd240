-- Matches have got their rooms, or have not: their players are told, or wait on where they were. After queue.lua.
-- KEYS  1 the slot
-- ARGV  2 {found (list of {match_id, room (a map, told to all)}), failed (list of matches: their players wait on)}
-- Result  {assigned (list of matches), returned (list of matches)}; what was assigned before is in neither

local assigned, returned, over = {}, {}, {}

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
    assigned[#assigned + 1] = match.match_id
    local room = cmsgpack.pack(result.room)
    for at, found in ipairs(redis.call('HMGET', TICKETS, unpack(match.tickets))) do
      local ticket = found and cmsgpack.unpack(found)
      if ticket then
        over[#over + 1] = ticket
        for _, entry in ipairs(ticket.members) do
          mail(entry, 'found', '', match.teams[at], match.match_id, room)
        end
      end
    end
  end
end
forget(over)
for _, id in ipairs(asked.failed) do
  local match = take(id)
  for _, ticket_id in ipairs(match and match.tickets or {}) do
    local ticket = ticket_of(ticket_id)
    if ticket then
      redis.call('ZADD', WAITING, ticket.seq, ticket_id)
    end
  end
  if match then
    returned[#returned + 1] = id
  end
end
finish()
keep('waiting')
return answer({assigned = assigned, returned = returned})
