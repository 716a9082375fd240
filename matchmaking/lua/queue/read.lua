-- Returns the state of the queue for a leader: waiting tickets, backfills, and matches without a room.
-- KEYS  1 the slot
-- ARGV  2 {after (the seq of the last known ticket), limit, with_matches, backfills_max}
-- Result  {tickets (list), backfills (list), matches (list), now_ms (the time of Redis)}

local tickets = {}
local ids = redis.call('ZRANGEBYSCORE', WAITING, '(' .. request.after, '+inf', 'LIMIT', 0, request.limit)
if #ids > 0 then
  for at, found in ipairs(redis.call('HMGET', TICKETS, unpack(ids))) do
    if found then
      tickets[#tickets + 1] = found
    else
      redis.call('ZREM', WAITING, ids[at])  -- Redis has lost the ticket
    end
  end
end
return reply_packed({now_ms = now}, {
  tickets = tickets, backfills = sample_backfills(request.backfills_max),
  matches = request.with_matches and redis.call('HVALS', MATCHES) or {},
})
