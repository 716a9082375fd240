// The entities that an Interpolation returns: structs, so that a frame allocates nothing.

namespace Tickwire
{
    /// <summary>The entities at one moment. Valid until the next snapshot.</summary>
    public struct InterpolatedEntities
    {
        private readonly Interpolation interpolation;
        private readonly Snapshot older;
        private readonly Snapshot newer;
        private readonly double fraction;
        private int row;

        internal InterpolatedEntities(Interpolation interpolation, Snapshot older, Snapshot newer, double fraction)
        {
            this.interpolation = interpolation;
            this.older = older;
            this.newer = newer;
            this.fraction = fraction;
            row = -1;
        }

        public InterpolatedEntity Current
        {
            get
            {
                int newerRow = newer == null || fraction <= 0 ? -1 : newer.RowOf(older.Ids[row]);
                return new InterpolatedEntity(interpolation, older, row, newer, newerRow, fraction);
            }
        }

        public InterpolatedEntities GetEnumerator()
        {
            return this;
        }

        public bool MoveNext()
        {
            row++;
            return older != null && row < older.Count;
        }
    }

    /// <summary>One entity between two snapshots.</summary>
    public readonly struct InterpolatedEntity
    {
        internal readonly Snapshot Older;
        internal readonly int OlderRow;
        internal readonly Snapshot Newer;
        internal readonly int NewerRow;
        internal readonly double Fraction;
        private readonly Interpolation interpolation;

        internal InterpolatedEntity(
            Interpolation interpolation, Snapshot older, int olderRow, Snapshot newer, int newerRow, double fraction)
        {
            this.interpolation = interpolation;
            Older = older;
            OlderRow = olderRow;
            Newer = newer;
            NewerRow = newerRow;
            Fraction = fraction;
        }

        public uint Id
        {
            get { return Older.Ids[OlderRow]; }
        }

        internal bool IsBetween
        {
            get { return NewerRow >= 0; }
        }

        /// <summary>Returns a number: reals and angles between two ticks, other fields as in the older one.</summary>
        /// <exception cref="System.ArgumentException">The field was not named in the constructor.</exception>
        public double Number(string name)
        {
            return interpolation.Number(this, name);
        }

        /// <exception cref="System.ArgumentException">The vector was not named in the constructor.</exception>
        public Vec2 Vec2(string name)
        {
            double[] value = interpolation.Vector(this, name);
            return new Vec2(value[0], value[1]);
        }

        /// <exception cref="System.ArgumentException">The vector was not named in the constructor.</exception>
        public Vec3 Vec3(string name)
        {
            double[] value = interpolation.Vector(this, name);
            return new Vec3(value[0], value[1], value[2]);
        }

        /// <summary>Returns a rotation: it turns by the shorter way, at a constant angular speed.</summary>
        /// <exception cref="System.ArgumentException">The quaternion was not named in the constructor.</exception>
        public Rotation Rotation(string name)
        {
            double[] value = interpolation.Vector(this, name);
            return new Rotation(value[0], value[1], value[2], value[3]);
        }
    }
}
