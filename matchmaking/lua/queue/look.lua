-- The queue as it stands, for operators. Changes nothing. After queue.lua.
-- KEYS  1 the slot
-- ARGV  2 {limit, regions (list), player_id (or "")}
-- Result  {tickets (list, the oldest first), waiting, gathering, matches, backfills (counts), desks, leaders
--       (list of {region, owner, epoch}), ticket (of the player, or ""), now_ms}

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
local _, waits_in = waits_as(asked.player_id)
return answer_raw({
  now_ms = now, leaders = leaders, waiting = redis.call('ZCARD', WAITING),
  gathering = redis.call('ZCARD', GATHERING), matches = redis.call('HLEN', MATCHES),
  backfills = redis.call('HLEN', key('backfills')), desks = redis.call('ZCARD', key('desks')),
  ticket = waits_in or '',
}, {tickets = tickets})
