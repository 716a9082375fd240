-- Returns the state of the queue for operators. Changes nothing.
-- KEYS  1 the slot
-- ARGV  2 {limit, regions (list), player_id (or "")}
-- Result  {tickets (list, the oldest first), backfills (list), waiting, gathering, matches, backfill_count, agents
--       (counts), leaders (list of {region, owner, epoch}), own (list: the player's ticket, if any), state (of that
--       ticket: "waiting", "gathering" or "matched"), now_ms}

local tickets, leaders = {}, {}
for _, id in ipairs(redis.call('ZRANGE', WAITING, 0, request.limit - 1)) do
  tickets[#tickets + 1] = redis.call('HGET', TICKETS, id) or nil
end
for _, region in ipairs(request.regions) do
  local lease = redis.call('HMGET', key('leader', region), 'owner', 'epoch')
  if lease[1] then
    leaders[#leaders + 1] = {region, lease[1], tonumber(lease[2])}
  end
end
local _, id = find_entry(request.player_id)
local state = 'matched'
if id and redis.call('ZSCORE', WAITING, id) then
  state = 'waiting'
elseif id and redis.call('ZSCORE', GATHERING, id) then
  state = 'gathering'
end
return reply_packed({
  now_ms = now, leaders = leaders, waiting = redis.call('ZCARD', WAITING), state = state,
  gathering = redis.call('ZCARD', GATHERING), matches = redis.call('HLEN', MATCHES),
  agents = redis.call('ZCARD', key('agents')), backfill_count = redis.call('HLEN', key('backfills')),
}, {
  tickets = tickets, backfills = sample_backfills(request.limit),
  own = {id and redis.call('HGET', TICKETS, id) or nil},
})
