-- Makes matches final: each takes all of its tickets out of the queue, or does not happen. After queue.lua.
-- KEYS  1 the slot
-- ARGV  2 {region, leader, epoch, matches (list of {match_id, tickets (list), backfill (a room, or ''), players (list),
--       entries (list: of each player, its entry and its ticket, as in PLAYERS)})}
--       3... the matches, packed, in the same order
-- Result  {status = "ok", made (list of matches), gone (list of tickets that wait no more)}, or "stale": another leads

if not leads(asked.region, asked.leader, asked.epoch) then
  return answer({status = 'stale', made = {}, gone = {}})
end
local made, gone = {}, {}

-- A player of whom Redis has lost that it waits has left, or waits in another ticket by now: this one is dropped.
local function are_here(players, entries)
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

local function can_be(tickets, backfill)
  local is_whole = true
  for _, id in ipairs(tickets) do
    if not redis.call('ZSCORE', WAITING, id) then
      gone[#gone + 1] = id
      is_whole = false
    end
  end
  return is_whole and (backfill == '' or redis.call('HEXISTS', key('backfills'), backfill) == 1)
end

for at, match in ipairs(asked.matches) do
  local match_id, tickets, backfill, players, entries = unpack(match)
  if redis.call('HEXISTS', MATCHES, match_id) == 1 then
    made[#made + 1] = match_id  -- the same call again
  elseif can_be(tickets, backfill) and are_here(players, entries) then
    redis.call('ZREM', WAITING, unpack(tickets))
    if backfill ~= '' then
      redis.call('HDEL', key('backfills'), backfill)  -- the room says anew what it wants once they are there
    end
    redis.call('HSET', MATCHES, match_id, ARGV[2 + at])
    made[#made + 1] = match_id
  end
end
keep('matches')
return answer({status = 'ok', made = made, gone = gone})
