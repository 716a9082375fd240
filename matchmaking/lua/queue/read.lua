-- What a leader must know: tickets that wait, rooms that want players, matches that have no room yet. After queue.lua.
-- KEYS  1 the slot
-- ARGV  2 {after (the seq of the last ticket that is known), limit, with_matches}
-- Result  {tickets (list), backfills (list), matches (list), now_ms (what time it is in Redis)}

local tickets, backfills, matches = {}, {}, {}
local ids = redis.call('ZRANGEBYSCORE', key('waiting'), '(' .. asked.after, '+inf', 'LIMIT', 0, asked.limit)
-- Lua's unpack takes a few thousand values and no more.
for first = 1, #ids, 1000 do
  local some = {}
  for at = first, math.min(first + 999, #ids) do
    some[#some + 1] = ids[at]
  end
  for _, found in ipairs(redis.call('HMGET', key('tickets'), unpack(some))) do
    if found then
      tickets[#tickets + 1] = cmsgpack.unpack(found)
    end
  end
end
for _, found in ipairs(redis.call('HVALS', key('backfills'))) do
  backfills[#backfills + 1] = cmsgpack.unpack(found)
end
if asked.with_matches then
  for _, found in ipairs(redis.call('HVALS', key('matches'))) do
    matches[#matches + 1] = cmsgpack.unpack(found)
  end
end
return answer({tickets = tickets, backfills = backfills, matches = matches, now_ms = now})
