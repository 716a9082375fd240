-- What a leader must know: tickets that wait, rooms that want players, matches that have no room yet. After queue.lua.
-- KEYS  1 the slot
-- ARGV  2 {after (the seq of the last ticket that is known), limit, with_matches, backfills_max}
-- Result  {tickets (list), backfills (list), matches (list), now_ms (what time it is in Redis)}

local tickets = {}
local ids = redis.call('ZRANGEBYSCORE', WAITING, '(' .. asked.after, '+inf', 'LIMIT', 0, asked.limit)
if #ids > 0 then
  for at, found in ipairs(redis.call('HMGET', TICKETS, unpack(ids))) do
    if found then
      tickets[#tickets + 1] = found
    else
      redis.call('ZREM', WAITING, ids[at])  -- Redis has lost the ticket
    end
  end
end
return answer_raw({now_ms = now}, {
  tickets = tickets, backfills = some_backfills(asked.backfills_max),
  matches = asked.with_matches and redis.call('HVALS', MATCHES) or {},
})
