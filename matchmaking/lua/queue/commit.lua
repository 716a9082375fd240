-- Commits matches: each match removes all of its tickets from the queue, or is not made.
-- KEYS  1 the slot
-- ARGV  2 {region, leader, epoch, matches (list of {match_id, tickets (list), backfill (a room, or ''), players
--       (list), entries (list: the entry and the ticket of each player, as in PLAYERS)})}
--       3... the matches, packed, in the same order
-- Result  {status = "ok", made (list of matches), gone (list of tickets that no longer wait)},
--       or "stale": another leader holds the lease

if not is_leader(request.region, request.leader, request.epoch) then
  return reply({status = 'stale', made = {}, gone = {}})
end
local made, gone = {}, {}

-- Returns whether all players still wait as these entries. If one does not, its ticket is dropped.
local function are_waiting(players, entries)
  local is_whole = true
  for at, found in ipairs(redis.call('HMGET', PLAYERS, unpack(players))) do
    if found ~= entries[at] then
      local id = string.match(entries[at], ' (%S+)$')
      drop(id)
      gone[#gone + 1] = id
      is_whole = false
    end
  end
  return is_whole
end

local function is_available(tickets, backfill)
  local is_whole = true
  for _, id in ipairs(tickets) do
    if not redis.call('ZSCORE', WAITING, id) then
      gone[#gone + 1] = id
      is_whole = false
    end
  end
  return is_whole and (backfill == '' or redis.call('HEXISTS', key('backfills'), backfill) == 1)
end

for at, match in ipairs(request.matches) do
  local match_id, tickets, backfill, players, entries = unpack(match)
  if redis.call('HEXISTS', MATCHES, match_id) == 1 then
    made[#made + 1] = match_id  -- a repeated call
  elseif is_available(tickets, backfill) and are_waiting(players, entries) then
    redis.call('ZREM', WAITING, unpack(tickets))
    if backfill ~= '' then
      redis.call('HDEL', key('backfills'), backfill)  -- the room updates its request when these players have joined
    end
    redis.call('HSET', MATCHES, match_id, ARGV[2 + at])
    made[#made + 1] = match_id
  end
end
touch_ttl('matches')
return reply({status = 'ok', made = made, gone = gone})
