-- Reassigns queued players to another agent. Their positions are unchanged.
-- KEYS  1 the slot
-- ARGV  2 {agent (the new agent), entries (list of {player, entry, the previous agent})}
-- Result  {reassigned (list: entries that wait, or whose notification was moved to the new agent)}
--
--   PREFIX:forwards   hash, TTL: entry -> its agent; later notifications for the previous agent are forwarded to it

local reassigned = {}

local function rebind(entry, id)
  local ticket = get_ticket(id)
  for _, member in ipairs(ticket and ticket[MEMBERS] or {}) do
    if member[ENTRY_ID] == entry then
      member[AGENT] = request.agent
      redis.call('HSET', TICKETS, id, cmsgpack.pack(ticket))
    end
  end
end

-- Moves a notification that the previous agent has not delivered. Returns whether there was one.
local function move_notification(entry, previous)
  local inbox = key('inbox', previous)
  for _, packed in ipairs(redis.call('ZRANGE', inbox, 0, -1)) do
    local notification = cmsgpack.unpack(packed)
    if notification[2] == entry then
      redis.call('ZREM', inbox, packed)
      local room = notification[7] and cmsgpack.pack(notification[7])
      notify(request.agent, entry, notification[3], notification[4], notification[5], notification[6], room)
      return true
    end
  end
end

redis.call('ZADD', key('agents'), now, request.agent)
for _, item in ipairs(request.entries) do
  local entry, id = find_entry(item[1])
  if entry == item[2] then
    rebind(entry, id)
    redis.call('HSET', FORWARDS, entry, request.agent)
    reassigned[#reassigned + 1] = entry
  elseif move_notification(item[2], item[3]) then
    reassigned[#reassigned + 1] = item[2]
  end
end
redis.call('PEXPIRE', FORWARDS, INBOX_TTL_MS)
finish()
touch_ttl('agents')
return reply({reassigned = reassigned})
