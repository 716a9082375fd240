-- Players go on waiting at another desk, in their place. After queue.lua.
-- KEYS  1 the slot
-- ARGV  2 {desk (theirs from now on), entries (list of {player, entry, the desk before})}
-- Result  {adopted (entries that wait, or whose letter is here now)}
--
--   PREFIX:forwards   hash, TTL: entry -> its desk; letters that are on their way to the desk before go there

local adopted = {}

local function rebind(entry, id)
  local ticket = ticket_of(id)
  for _, member in ipairs(ticket and ticket[MEMBERS] or {}) do
    if member[ENTRY_ID] == entry then
      member[DESK] = asked.desk
      redis.call('HSET', TICKETS, id, cmsgpack.pack(ticket))
    end
  end
end

-- A letter that the desk before has not given out. A letter: number, entry_id, kind, reason, team, match_id, room.
local function fetch_letter(entry, before)
  local box = key('mail', before)
  for _, packed in ipairs(redis.call('ZRANGE', box, 0, -1)) do
    local letter = cmsgpack.unpack(packed)
    if letter[2] == entry then
      redis.call('ZREM', box, packed)
      local room = letter[7] and cmsgpack.pack(letter[7])
      mail(asked.desk, entry, letter[3], letter[4], letter[5], letter[6], room)
      return true
    end
  end
end

redis.call('ZADD', key('desks'), now, asked.desk)
for _, who in ipairs(asked.entries) do
  local entry, id = waits_as(who[1])
  if entry == who[2] then
    rebind(entry, id)
    redis.call('HSET', FORWARDS, entry, asked.desk)
    adopted[#adopted + 1] = entry
  elseif fetch_letter(who[2], who[3]) then
    adopted[#adopted + 1] = who[2]
  end
end
redis.call('PEXPIRE', FORWARDS, MAIL_MS)
finish()
keep('desks')
return answer({adopted = adopted})
