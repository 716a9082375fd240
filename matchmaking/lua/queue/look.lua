-- The queue as it stands, for operators. Changes nothing. After queue.lua.
-- KEYS  1 the slot
-- ARGV  2 {limit, regions (list), player_id (or "")}
-- Result  {tickets, backfills (lists, the oldest tickets first), waiting, gathering, matches, wanting (counts; wanting:
--       rooms that want players), desks, leaders (list of {region, owner, epoch}), own (the player's ticket, if there is
--       one), state (of that: "waiting", "gathering" or "matched"), now_ms}

local tickets, leaders = {}, {}
for _, id in ipairs(redis.call('ZRANGE', WAITING, 0, asked.limit - 1)) do
  tickets[#tickets + 1] = redis.call('HGET', TICKETS, id) or nil
end
for _, region in ipairs(asked.regions) do
  local lease = redis.call('HMGET', key('leader', region), 'owner', 'epoch')
  if lease[1] then
    leaders[#leaders + 1] = {region, lease[1], tonumber(lease[2])}
  end
end
local _, id = waits_as(asked.player_id)
local state = 'matched'
if id and redis.call('ZSCORE', WAITING, id) then
  state = 'waiting'
elseif id and redis.call('ZSCORE', GATHERING, id) then
  state = 'gathering'
end
return answer_raw({
  now_ms = now, leaders = leaders, waiting = redis.call('ZCARD', WAITING), state = state,
  gathering = redis.call('ZCARD', GATHERING), matches = redis.call('HLEN', MATCHES),
  desks = redis.call('ZCARD', key('desks')), wanting = redis.call('HLEN', key('backfills')),
}, {
  tickets = tickets, backfills = some_backfills(asked.limit),
  own = {id and redis.call('HGET', TICKETS, id) or nil},
})
