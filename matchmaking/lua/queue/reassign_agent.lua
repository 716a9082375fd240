-- Reassigns queued players to another agent. Their positions are unchanged.
-- KEYS  1 the slot
-- ARGV  2 {agent (the new agent), entries (list of {player, entry, the previous agent})}
-- Result  {reassigned (list: entries that wait, or whose notification was moved to the new agent)}
--
--   PREFIX:forwards   hash, TTL: entry -> its agent; later notifications for the previous agent are forwarded to it

local reassigned = {}

local found  -- entry -> {agent, notification}, of all other agents; read once, on demand

-- Returns the notification of an entry in any other agent's inbox: if the previous agent's own call has failed, the
-- notification was sent to the agent before it.
local function find_elsewhere(entry)
  if not found then
    found = {}
    for _, agent in ipairs(redis.call('ZRANGE', key('agents'), 0, -1)) do
      for _, packed in ipairs(agent ~= request.agent and redis.call('ZRANGE', key('inbox', agent), 0, -1) or {}) do
        found[cmsgpack.unpack(packed)[2]] = {agent, packed}
      end
    end
  end
  return found[entry]
end

-- Returns the agent that has the notification of an entry, and the notification.
local function find_notification(entry, previous)
  for _, packed in ipairs(redis.call('ZRANGE', key('inbox', previous), 0, -1)) do
    if cmsgpack.unpack(packed)[2] == entry then
      return previous, packed
    end
  end
  return unpack(find_elsewhere(entry) or {})
end

-- Moves a notification that an earlier agent has not delivered. Returns whether there was one.
local function move_notification(entry, previous)
  local agent, packed = find_notification(entry, previous)
  if not agent then
    return false
  end
  local notification = cmsgpack.unpack(packed)
  redis.call('ZREM', key('inbox', agent), packed)
  local room = notification[7] and cmsgpack.pack(notification[7])
  notify(request.agent, entry, notification[3], notification[4], notification[5], notification[6], room)
  return true
end

redis.call('ZADD', key('agents'), now, request.agent)
for _, item in ipairs(request.entries) do
  local entry, id = find_entry(item[1])
  redis.call('HSET', FORWARDS, item[2], request.agent)  -- before `notify`, which would forward to an earlier agent
  if entry == item[2] then
    rebind(entry, id)
    reassigned[#reassigned + 1] = entry
  elseif move_notification(item[2], item[3]) then
    reassigned[#reassigned + 1] = item[2]
  end
end
redis.call('PEXPIRE', FORWARDS, INBOX_TTL_MS)
finish()
touch_ttl('agents')
return reply({reassigned = reassigned})
